import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from occfeat.data.formats.nuscenes.writer.scene import rows_file
from occfeat.data.index.index import Index
from occfeat.errors import RunError
from occfeat.settings.sections import DataConfig
from streetworld import build
from streetworld.build import SCENES, build_world, plan_scenes
from streetworld.config import WorldConfig
from streetworld.custom_rigs import load_rig
from streetworld.output.maps import write_maps
from streetworld.output.scene_files import VERSION, calibrated_rig
from streetworld.request import SceneRequest
from tests.support.small_world import SMALL

TINY = {**SMALL, "key_frames": 1, "image_size": (32, 48), "lights": ("noon",)}


def table(world: Path, name: str) -> list[dict]:
    return json.loads((world / "v1.0-street" / f"{name}.json").read_text())


def files_of(world: Path) -> dict[str, bytes]:
    return {str(path.relative_to(world)): path.read_bytes() for path in world.rglob("*") if path.is_file()}


def test_the_index_reads_it(street_world: Path) -> None:
    index = Index.open(DataConfig(root=street_world))
    assert len(index) == 4
    assert len(index.rows("val")) == 4
    key_frame = index.key_frame(0, sweeps=2)
    assert len(key_frame.cameras) == 6
    assert all(camera.size == (64, 112) for camera in key_frame.cameras)
    assert any(category.startswith("vehicle.") for category in key_frame.boxes.category)


def test_every_file_of_the_tables_exists_and_nothing_else(street_world: Path) -> None:
    named = {row["filename"] for row in table(street_world, "sample_data")}
    found = {
        str(p.relative_to(street_world))
        for d in ("samples", "sweeps")
        for p in (street_world / d).rglob("*.*")
    }
    assert named == found


def test_records_are_chained_and_point_to_each_other(street_world: Path) -> None:
    for name in ("sample", "sample_data", "sample_annotation"):
        rows = {row["token"]: row for row in table(street_world, name)}
        for row in rows.values():
            if row["next"]:
                assert rows[row["next"]]["prev"] == row["token"]
    poses = {row["token"] for row in table(street_world, "ego_pose")}
    sensors = {row["token"] for row in table(street_world, "calibrated_sensor")}
    samples = {row["token"] for row in table(street_world, "sample")}
    for row in table(street_world, "sample_data"):
        assert row["ego_pose_token"] in poses
        assert row["calibrated_sensor_token"] in sensors
        assert row["sample_token"] in samples
    instances = {row["token"]: row for row in table(street_world, "instance")}
    counts = dict.fromkeys(instances, 0)
    for row in table(street_world, "sample_annotation"):
        counts[row["instance_token"]] += 1
    assert all(instances[number]["nbr_annotations"] == count for number, count in counts.items())


def test_cameras_fire_before_the_lidar_in_the_order_it_sweeps(street_world: Path) -> None:
    sample = table(street_world, "sample")[0]
    rows = [
        r
        for r in table(street_world, "sample_data")
        if r["sample_token"] == sample["token"] and r["is_key_frame"]
    ]
    delay_ms = {r["filename"].split("/")[1]: (r["timestamp"] - sample["timestamp"]) / 1000 for r in rows}
    assert delay_ms["LIDAR_TOP"] == 0
    order = ["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT"]
    assert sorted(order, key=lambda channel: delay_ms[channel]) == order
    assert -50 <= delay_ms["CAM_FRONT_LEFT"] < -40
    assert -2 < delay_ms["CAM_BACK_LEFT"] <= 0


def test_key_frames_are_half_a_second_apart(street_world: Path) -> None:
    samples = {row["token"]: row for row in table(street_world, "sample")}
    steps_us = [
        samples[row["next"]]["timestamp"] - row["timestamp"] for row in samples.values() if row["next"]
    ]
    assert steps_us == [500_000, 500_000]  # of two scenes


def test_sweeps_lie_before_their_key_frame(street_world: Path) -> None:
    samples = {row["token"]: row for row in table(street_world, "sample")}
    sweeps = [row for row in table(street_world, "sample_data") if not row["is_key_frame"]]
    assert len(sweeps) == 2
    for row in sweeps:
        assert samples[row["sample_token"]]["timestamp"] - row["timestamp"] == 50_000
        assert row["filename"].startswith("sweeps/LIDAR_TOP/")


def test_images_are_not_flat(street_world: Path) -> None:
    for path in sorted((street_world / "samples" / "CAM_FRONT").iterdir()):
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == (64, 112, 3)
        assert pixels.std() > 15


@pytest.fixture(scope="module")
def plain_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_world(WorldConfig(out=tmp_path_factory.mktemp("plain") / "world", workers=1, **TINY))


def test_the_same_bytes_with_any_number_of_workers(plain_world: Path, tmp_path: Path) -> None:
    other = build_world(WorldConfig(out=tmp_path / "world", workers=2, **TINY))
    assert files_of(plain_world) == files_of(other)


def test_an_interrupted_build_goes_on_where_it_was(
    plain_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = WorldConfig(out=tmp_path / "world", workers=1, **TINY)
    original, made = build.write_scene, []

    def stop_at_the_second(request: SceneRequest, out: Path) -> None:
        if made:
            raise KeyboardInterrupt
        made.append(request.name)
        original(request, out)

    monkeypatch.setattr(build, "write_scene", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        build_world(config)
    assert not (config.out / "v1.0-street").exists()
    assert rows_file(config.out, VERSION, "street-val-0000").is_file()
    monkeypatch.setattr(
        build, "write_scene", lambda request, out: made.append(request.name) or original(request, out)
    )
    build_world(config)
    assert made == ["street-val-0000", "street-val-0001"]
    assert files_of(config.out) == files_of(plain_world)
    build_world(config)
    assert len(made) == 2


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_build_leaves_no_processes_and_goes_on(number: int, tmp_path: Path) -> None:
    out = tmp_path / "world"
    settings = {**TINY, "scenes": 3, "val_scenes": 3}
    words = ["--scenes=3", "--val-scenes=3", "--test-scenes=0", "--key-frames=1", "--town-size=3"]
    words += ["--image-size", "32", "48", "--lights", "noon", "--workers", "2", "--out", str(out)]
    command = [sys.executable, "-m", "occfeat", "world", *words]
    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: any(out.glob(f"{SCENES}/*.json")), 120)
    helpers = psutil.Process(stopped.pid).children(recursive=True)
    assert len(helpers) >= 2
    os.kill(stopped.pid, number)
    said = stopped.communicate(timeout=30)[1]
    assert wait_until(lambda: not any(map(lives, helpers)), 10)
    assert stopped.returncode == (130 if number == signal.SIGTERM else -number)
    assert ("Give the same command again to go on." in said) == (number == signal.SIGTERM)
    assert "Traceback" not in said
    finished = {path.name: path.stat().st_mtime_ns for path in out.glob("samples/*/*")}
    rows = list(out.glob(f"{SCENES}/*.json"))
    assert 1 <= len(rows) < 3
    build_world(WorldConfig(out=out, workers=1, **settings))
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob(f"samples/*/{rows[0].stem}__*")}
    assert kept
    assert kept.items() <= finished.items()
    assert len(table(out, "scene")) == 3
    assert not list(out.rglob(".*"))


def test_a_world_that_another_process_has_just_finished_is_not_built_again(
    plain_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(plain_world)
    answers = iter([False, True])
    monkeypatch.setattr(build, "_is_complete", lambda _: next(answers))
    monkeypatch.setattr(build, "write_scene", lambda *_: pytest.fail("built again"))
    build_world(WorldConfig(out=plain_world, workers=1, **TINY))
    assert files_of(plain_world) == before


def test_another_lidar_makes_another_world_and_another_path_of_the_rig_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = tmp_path / "mine.json"
    camera = {"channel": "CAM_A", "position_m": [1, 0, 1.4], "yaw_deg": 10, "view_deg": 80}
    rig.write_text(json.dumps({"cameras": [camera], "lidar_m": [0, 0, 2]}))
    config = WorldConfig(
        out=tmp_path / "world", workers=1, **{**TINY, "rig": str(rig), "scenes": 1, "val_scenes": 1}
    )
    before = files_of(build_world(config))
    rig.write_text(json.dumps({"cameras": [camera], "lidar_m": [0, 0, 2.5]}))
    with pytest.raises(RunError, match="another world"):
        build_world(config)
    assert files_of(config.out) == before
    rig.write_text(json.dumps({"lidar_m": [0, 0, 2], "cameras": [camera]}, indent=2))
    assert files_of(build_world(config)) == before
    monkeypatch.chdir(tmp_path)
    for path in ("mine.json", "./mine.json"):
        assert files_of(build_world(config.model_copy(update={"rig": path}))) == before


def test_a_rig_file_has_the_same_tokens_wherever_it_lies_and_however_its_path_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for path in ("mine.json", "./mine.json", "/a/folder/mine.json"):
        request = plan_scenes(WorldConfig(out=Path("unused"), rig=path))[0][0]
        monkeypatch.setattr(SceneRequest, "mounted_rig", lambda _: load_rig("nuscenes"))
        assert calibrated_rig(request).name == "mine.json/calibration/0"


def test_logs_are_dated_by_when_their_scenes_begin(plain_world: Path) -> None:
    logs = {row["token"]: row["date_captured"] for row in table(plain_world, "log")}
    begins = {row["scene_token"]: row["timestamp"] for row in table(plain_world, "sample") if not row["prev"]}
    for scene in table(plain_world, "scene"):
        first = datetime.fromtimestamp(begins[scene["token"]] / 1e6, UTC)
        assert logs[scene["log_token"]] == f"{first:%Y-%m-%d}"
    assert set(logs.values()) != {"2030-01-01"}


def test_maps_are_written_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of large towns take gigabytes of memory each."""
    jobs = []

    class Pool(ThreadPoolExecutor):
        def submit(self, job, *given):
            jobs.append(job)
            return super().submit(job, *given)

    monkeypatch.setattr(build, "start_helpers", lambda count, *_: Pool(count))
    monkeypatch.setattr(build, "write_scene", lambda *_: None)
    monkeypatch.setattr(build, "write_tables", lambda *_: None)
    config = WorldConfig(out=tmp_path / "world", workers=2, **{**TINY, "scenes": 3, "val_scenes": 1})
    build_world(config)
    assert [job for job in jobs if job is not build.write_scene] == [write_maps]
    assert len(list(tmp_path.glob("world/maps/*.png"))) == 3


def test_worlds_of_named_rigs_are_described_as_ever(plain_world: Path) -> None:
    described = json.loads((plain_world / "world.json").read_text())
    left_out = {"out", "workers", "sweep_hz"}
    assert set(described) == {*WorldConfig.model_fields, "format", "rig_cameras"} - left_out
    assert described["rig"] == "nuscenes"
    assert described["rig_cameras"][1] == (
        "Camera(channel='CAM_FRONT_RIGHT', position_m=(1.55, -0.49, 1.5), yaw_deg=-56.0, view_deg=64.8,"
        " pitch_deg=0.0, roll_deg=0.0, size=(1.0, 1.0), center=(0.507, 0.54))"
    )


def test_a_build_that_was_killed_before_its_world_was_described_begins_again(tmp_path: Path) -> None:
    out = tmp_path / "world"
    (out / SCENES).mkdir(parents=True)
    (out / SCENES / ".lock").touch()
    (out / ".world.json.partial").write_text("{")
    build_world(WorldConfig(out=out, workers=1, **{**TINY, "scenes": 1, "val_scenes": 1}))
    assert len(table(out, "scene")) == 1
    assert not list(out.glob(".*"))


def test_splits_hold_out_whole_towns() -> None:
    requests, splits = plan_scenes(WorldConfig(out=Path("unused"), scenes=10))
    assert {split: len(names) for split, names in splits.items()} == {"train": 6, "val": 2, "test": 2}
    towns = {split: {r.town.number for r in requests if r.name in names} for split, names in splits.items()}
    assert towns["train"] == {0, 1}
    assert towns["train"].isdisjoint(towns["val"] | towns["test"])
    assert towns["val"].isdisjoint(towns["test"])


def test_a_scene_does_not_depend_on_how_many_there_are() -> None:
    few, _ = plan_scenes(WorldConfig(out=Path("unused"), scenes=4, val_scenes=1, test_scenes=1))
    many, _ = plan_scenes(WorldConfig(out=Path("unused"), scenes=40, val_scenes=9, test_scenes=9))
    assert set(few) <= set(many)


def test_the_function_needs_no_torch() -> None:
    code = "import sys, occfeat; occfeat.build_world; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = (
        f"occfeat.build_world({str(tmp_path / 'world')!r}, scenes=2, val_scenes=0, test_scenes=0, workers=2)"
    )
    script.write_text(f"import occfeat\n\n{call}\n")
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "RunError: No helper processes could be started." in ended.stderr
    assert '`if __name__ == "__main__":`' in ended.stderr

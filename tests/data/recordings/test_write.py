"""Recordings become a data set, whatever stopped it in between."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from occfeat.data.check.check import check
from occfeat.data.formats.nuscenes.writer.scene import rows_folder
from occfeat.data.formats.nuscenes.writer.values import CameraImage, LidarSweep
from occfeat.data.index.index import Index
from occfeat.data.recordings import write
from occfeat.data.recordings.recording import Moment
from occfeat.data.recordings.write import VERSION, SceneResult, write_recordings
from occfeat.errors import DatasetError, RunError
from occfeat.settings.sections import DataConfig
from tests.data.recordings.made import OPTICAL, MadeRecording, files_of, made_recordings, pose_at

KEY = b"{}"


def test_recordings__are_read_as_they_were_written(tmp_path: Path) -> None:
    results = write_recordings(tmp_path, made_recordings(), made_from=KEY, workers=1)
    assert results[0] == SceneResult("drive-0", 3, {"made-up reason": 2}, ())
    index = Index.open(DataConfig(root=tmp_path))
    assert (len(index), len(index.rows("train")), len(index.rows("val"))) == (9, 6, 3)
    key_frame = index.key_frame(1, sweeps=3)
    np.testing.assert_allclose(key_frame.global_from_ego, pose_at(500).global_from_ego, atol=1e-9)
    times_ms = [(sweep.timestamp_us - key_frame.timestamp_us) / 1000 for sweep in key_frame.sweeps]
    assert times_ms == [0, -100, -500]
    moved_m = key_frame.cameras[0].lidar_ego_from_camera[0, 3] - OPTICAL[0, 3]
    np.testing.assert_allclose(moved_m, -0.3, atol=1e-9)  # 30 ms at 10 m/s
    assert check(DataConfig(root=tmp_path), decode=True).problems == ()


def test_any_number_of_processes__writes_the_same_bytes(tmp_path: Path) -> None:
    write_recordings(tmp_path / "one", made_recordings(), made_from=KEY, workers=1)
    write_recordings(tmp_path / "two", made_recordings(), made_from=KEY, workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert not list((tmp_path / "two").rglob(".*"))


def test_interrupted_write__goes_on_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recordings(tmp_path / "whole", made_recordings(), made_from=KEY, workers=1)
    original, written = write.write_scene, []

    def stop_in_the_second(recording, root, tell):
        written.append(recording.name)
        if len(written) == 2:
            moments = list(recording.moments())[:2]
            recording.moments = lambda: iter([*moments, None])  # fails at the third moment
        original(recording, root, tell)

    monkeypatch.setattr(write, "write_scene", stop_in_the_second)
    with pytest.raises(AttributeError):
        write_recordings(tmp_path / "cut", made_recordings(), made_from=KEY, workers=1)
    assert not (tmp_path / "cut" / VERSION).exists()
    monkeypatch.undo()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").glob("samples/*/drive-0*")}
    assert kept
    write_recordings(tmp_path / "cut", made_recordings(), made_from=KEY, workers=1)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert kept == {p: p.stat().st_mtime_ns for p in kept}


SCRIPT = """
from pathlib import Path
from occfeat.data.recordings.write import write_recordings
from tests.data.recordings.made import made_recordings

if __name__ == "__main__":
    write_recordings(Path({root!r}), made_recordings(6, slow_s=0.2), made_from=b"{{}}", workers=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_write__leaves_no_processes_and_goes_on(number: int, tmp_path: Path) -> None:
    root, script = tmp_path / "drive", tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(root)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
    project = Path(__file__).parents[3]
    stopped = subprocess.Popen([sys.executable, str(script)], cwd=project, env=environment, stderr=-3)
    wait_until(lambda: any(rows_folder(root, VERSION).glob("*.json")), 120)
    helpers = psutil.Process(stopped.pid).children(recursive=True)
    os.kill(stopped.pid, number)
    assert stopped.wait(timeout=30) != 0
    wait_until(lambda: not any(map(lives, helpers)), 10)
    assert not (root / VERSION).exists()
    finished = {path.stem for path in rows_folder(root, VERSION).glob("*.json")}
    before = {p: p.stat().st_mtime_ns for name in finished for p in root.glob(f"samples/*/{name}__*")}
    write_recordings(root, made_recordings(6), made_from=KEY, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    write_recordings(tmp_path / "whole", made_recordings(6), made_from=KEY, workers=1)
    assert files_of(root) == files_of(tmp_path / "whole")


def wait_until(done, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_complete_set__is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recordings(tmp_path, made_recordings(), made_from=KEY, workers=1)
    before = files_of(tmp_path)
    monkeypatch.setattr(write, "write_scene", lambda *_: pytest.fail("written again"))
    results = write_recordings(tmp_path, made_recordings(), made_from=KEY, workers=1)
    assert results[0].left_out == {"made-up reason": 2}
    assert files_of(tmp_path) == before


def test_folder_of_anything_else__is_refused_and_kept(tmp_path: Path) -> None:
    write_recordings(tmp_path / "a", made_recordings(), made_from=KEY, workers=1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "photo.jpg").write_text("mine")
    (tmp_path / "c").write_text("a file")
    before = files_of(tmp_path)
    for name, says in (("a", "other recordings"), ("b", "not empty"), ("c", "is a file")):
        with pytest.raises(RunError, match=says):
            write_recordings(tmp_path / name, made_recordings(), made_from=b"other", workers=1)
    assert files_of(tmp_path) == before


def test_recording_without_key_frames__is_no_scene(tmp_path: Path) -> None:
    recordings = [MadeRecording("empty", 0), MadeRecording("full", 2)]
    results = write_recordings(tmp_path, recordings, made_from=KEY, workers=1)
    assert [result.key_frames for result in results] == [0, 2]
    assert Index.open(DataConfig(root=tmp_path)).metadata.scenes[0] == "full"
    with pytest.raises(DatasetError, match=r"No recording has a key frame.\n  2 x made-up reason"):
        write_recordings(tmp_path / "none", recordings[:1], made_from=KEY, workers=1)


def test_names__are_unique_and_name_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Two recordings have one name"):
        write_recordings(tmp_path / "a", [MadeRecording("a"), MadeRecording("a")], made_from=KEY, workers=1)
    with pytest.raises(DatasetError, match="not a valid file name"):
        write_recordings(tmp_path / "a", [MadeRecording("../a")], made_from=KEY, workers=1)
    assert not (tmp_path / "a").exists()


def test_full_disk__is_named_and_the_set_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = Path.write_bytes, [9]

    def fill(path: Path, content: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(RunError, match=r"No space left on device\nHint: Free disk space"):
        write_recordings(tmp_path / "cut", made_recordings(), made_from=KEY, workers=1)
    monkeypatch.undo()
    write_recordings(tmp_path / "cut", made_recordings(), made_from=KEY, workers=1)
    write_recordings(tmp_path / "whole", made_recordings(), made_from=KEY, workers=1)
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_moment_between_key_frames__has_sweeps_alone() -> None:
    sweeps = {"LIDAR_TOP": LidarSweep(np.zeros((1, 3)))}
    assert Moment(pose_at(0), is_key=False, sweeps=sweeps).sweeps is sweeps
    image = CameraImage(np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match="Expected only LiDAR sweeps between key frames"):
        Moment(pose_at(0), is_key=False, images={"CAM_FRONT": image})

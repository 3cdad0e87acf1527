"""Two street worlds of different rigs and towns, learned from at once."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.runs.card import read_card
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.settings.sections import DataConfig
from streetworld.build import build_world
from streetworld.config import WorldConfig
from tests.end_to_end.forks import Command, run_ranks, wait_for_rows
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags, rows_of, stopping_after
from tests.support.small_world import SMALL

Words = Callable[..., list[str]]
SIX_STEPS = ("--optim.epochs", "2", "--loss.unseen", "ignore", "--set-exponent", "0")
"""Six steps of two key frames."""
PRETRAINED = {"loss", "loss/occupancy", "loss/features", "occupancy_iou", "occupancy_recall", "cosine"}


@pytest.fixture(scope="module")
def worlds(street_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A town seen by six cameras, `world`, with 4 key frames, and one seen by five, `south`, with 2."""
    out = tmp_path_factory.mktemp("worlds") / "south"
    south = SMALL | {"key_frames": 1, "rig": "wide5", "seed": 7, "lights": ("noon",)}
    return street_world, build_world(WorldConfig(out=out, workers=1, **south))


@pytest.fixture(scope="module")
def words(worlds: tuple[Path, Path], flags: Flags) -> Words:
    """Flags of a run on both worlds."""

    def of(command: str, out: Path, *more: str) -> list[str]:
        given = flags(command, out, *more)
        at = given.index("--data")
        given[at + 1 : at + 2] = map(str, worlds)
        given[given.index("--split") + 1] = "val"
        return given

    return of


@pytest.fixture(scope="module")
def pretrained(words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained") / "run"
    assert main(words("pretrain", run, *SIX_STEPS)) == 0
    return run


def test_pretraining__has_metrics_of_each_set(pretrained: Path, worlds: tuple[Path, Path]) -> None:
    rows = rows_of(pretrained)
    assert len(rows) == 6  # 12 draws, two per step
    names = {name for row in rows for name in row}
    seen = {name.replace("occupancy_iou", "seen_occupancy_iou") for name in PRETRAINED} | {"seen_share"}
    for world in ("world", "south"):
        assert {f"{world}/{name}" for name in seen} <= names
    for row in rows:
        of_sets = [row[f"{world}/loss"] for world in ("world", "south") if f"{world}/loss" in row]
        assert min(of_sets) <= row["loss"] <= max(of_sets)
    assert "world: 3, of 4 in the split" in (pretrained / "log.txt").read_text()
    fingerprints = {world.name: Index.open(DataConfig(root=world)).fingerprint for world in worlds}
    assert json.loads((pretrained / "environment.json").read_text())["data_fingerprint"] == fingerprints
    assert read_card(pretrained).data_sets == fingerprints


def test_a_single_set__is_written_as_before(flags: Flags, tmp_path: Path) -> None:
    assert main(flags("pretrain", tmp_path / "run", "--optim.epochs", "1")) == 0
    assert "data_sets" not in (tmp_path / "run" / "model.json").read_text()
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert isinstance(environment["data_fingerprint"], str)
    assert set(rows_of(tmp_path / "run")[0]) >= PRETRAINED


@pytest.mark.slow
def test_finetuning__reports_each_set_and_all(
    words: Words, pretrained: Path, worlds: tuple[Path, Path], tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    more = ["--start", str(pretrained), "--label-fraction", "0.5", "--pictures", "2", "--optim.epochs", "1"]
    assert main(words("finetune", run, *more)) == 0
    tokens = (run / "label_tokens.txt").read_text().split()
    assert sorted(token.split("/")[0] for token in tokens) == ["south"] * 1 + ["world"] * 2
    results = json.loads((run / "evaluation-val" / "results.json").read_text())
    assert results["key_frames"] == 4 + 2
    metrics = results["metrics"]
    wanted = {"vehicle_iou/all", "vehicle_iou/visible"}
    assert set(metrics) == {f"{prefix}{name}" for prefix in ("", "world/", "south/") for name in wanted}
    assert {path.parent.name for path in (run / "pictures").glob("*/*.png")} == {"world", "south"}
    for world in worlds:  # one set alone gives its figure
        alone = ["evaluate", str(run), "--data", str(world), "--out", str(out / world.name)]
        assert main([*alone, "--engine.workers", "0", "--engine.device", "cpu"]) == 0
        found = json.loads((out / world.name / "results.json").read_text())["metrics"]
        assert found == {name: metrics[f"{world.name}/{name}"] for name in wanted}
    both = ["evaluate", str(run), "--data", *map(str, worlds), "--out", str(out / "both"), "--pictures", "0"]
    assert main([*both, "--engine.workers", "0", "--engine.device", "cpu"]) == 0
    assert json.loads((out / "both" / "results.json").read_text())["metrics"] == metrics
    page = ["report", str(run), str(pretrained), "--out", str(tmp_path / "page.html"), "--key-frames", "2"]
    assert main(page) == 0
    shown = (tmp_path / "page.html").read_text()
    mark = Index.open(DataConfig(root=worlds[1])).fingerprint[:12]
    assert f"south ({mark})" in shown
    assert "south/vehicle_iou/visible" in shown


@pytest.mark.slow
def test_kill_and_resume__ends_bit_for_bit_the_same(words: Words, tmp_path: Path) -> None:
    steps = ["--augment.brightness", "0.2", "--augment.lidar-beams", "0.5", "--optim.epochs", "4"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main(words("pretrain", whole, *steps)) == 0
    command = Command(
        words("pretrain", run, *steps, "--engine.checkpoint-minutes", "0"), tmp_path / "printed.txt"
    )
    wait_for_rows(run, 4, [command])
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    assert main(["pretrain", "--resume", str(run)]) == 0
    one, other = (load_file(path / "weights.safetensors") for path in (whole, run))
    assert all(torch.equal(one[name], other[name]) for name in one)
    without_times = [
        [
            {name: value for name, value in row.items() if not name.startswith("time/")}
            for row in rows_of(path)
        ]
        for path in (whole, run)
    ]
    assert without_times[0] == without_times[1]


@pytest.mark.slow
def test_two_processes__give_the_metrics_of_one(words: Words, tmp_path: Path) -> None:
    more = ["--loss.features", "0", "--optim.epochs", "1", "--student.backbone", "test_convnext"]
    assert main(words("pretrain", tmp_path / "one", *more)) == 0
    run_ranks(words("pretrain", tmp_path / "two", *more, "--engine.devices", "2"), tmp_path)
    alone, shared = (rows_of(tmp_path / name) for name in ("one", "two"))
    for one, two in zip(alone, shared, strict=True):
        assert set(one) == set(two)
        for name in one:
            if name.endswith(("loss", "loss/occupancy")):
                assert two[name] == pytest.approx(one[name], rel=1e-4), name
            elif name.endswith("occupancy_iou"):  # rounding moves voxels across the threshold
                assert two[name] == pytest.approx(one[name], abs=1e-3), name


@pytest.mark.slow
def test_caches__are_those_of_the_sets_in_their_order(
    words: Words,
    worlds: tuple[Path, Path],
    pretrained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teacher = words("pretrain", tmp_path)[words("pretrain", tmp_path).index("--teacher.name") :]
    teacher = teacher[: teacher.index("--head.channels")]
    caches = [str(tmp_path / f"cache-{world.name}") for world in worlds]
    for world, cache in zip(worlds, caches, strict=True):
        made = [
            "cache",
            "--data",
            str(world),
            "--split",
            "val",
            "--out",
            cache,
            "--engine.workers",
            "0",
            *teacher,
        ]
        assert main([*made, "--dtype", "fp16" if world.name == "south" else "int8"]) == 0
    more = [*SIX_STEPS, "--teacher-cache"]
    assert main(words("pretrain", tmp_path / "cached", *more, *caches)) == 0
    for cached, taught in zip(rows_of(tmp_path / "cached"), rows_of(pretrained), strict=True):
        assert cached["loss"] == pytest.approx(taught["loss"], abs=2e-3)
    capsys.readouterr()
    assert main(words("pretrain", tmp_path / "swapped", *more, *caches[::-1])) == 2
    assert f"{caches[1]} was given for world, but it is that of south." in capsys.readouterr().err
    assert not (tmp_path / "swapped").exists()


@pytest.mark.slow
def test_resume__after_the_sets_have_moved(
    words: Words, worlds: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, moved = tmp_path / "run", [tmp_path / "moved" / world.name for world in worlds]
    assert main(words("pretrain", run, "--optim.epochs", "1", "--loss.features", "0")) == 0
    before = load_file(run / "weights.safetensors")
    settings = (run / "settings.yaml").read_text()
    for world, place in zip(worlds, moved, strict=True):
        shutil.copytree(world, place)
        settings = settings.replace(str(world), str(place))
    (run / "settings.yaml").write_text(settings)
    assert main(["pretrain", "--resume", str(run)]) == 0
    after = load_file(run / "weights.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    (table,) = moved[1].glob("v1.0-*/sample_annotation.json")
    records = json.loads(table.read_text())
    records[0]["size"][0] += 1
    table.write_text(json.dumps(records))
    capsys.readouterr()
    assert main(["pretrain", "--resume", str(run)]) == 2
    assert "The tables of the data set south have changed" in capsys.readouterr().err


BAD: dict[str, tuple[dict[str, object], list[str], str, str]] = {
    "no split": (
        {"scenes": ("scene-0103",)},
        ["pretrain"],
        "Data set bad",
        "Split 'mini_train' has no key frames",
    ),
    "no LiDAR": ({"lidars": {}}, ["pretrain"], "Data set bad", "no LiDAR record"),
    "no boxes": ({"boxes": 0}, ["finetune"], "bad", "have no boxes to learn vehicle from"),
    "no layer": ({}, ["finetune", "--classes", "vehicle", "divider"], "Data set nuscenes", "divider"),
    "no camera": (
        {"channels": ("A", "B")},
        ["pretrain", "--view.cameras", "CAM_FRONT"],
        "Data set bad",
        "has no camera CAM_FRONT",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input__is_named_with_its_set_before_anything_is_written(
    case: str, flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built, (command, *more), name, message = BAD[case]
    small = {"returns": 50, "sweeps": 0, "image_size": (36, 64), "seed": 5}
    bad = build_nuscenes_folder(tmp_path / "bad", **small | built)
    given = flags(command, tmp_path / "run", *more)
    given.insert(given.index("--data") + 2, str(bad))
    assert main(given) == 2
    errors = capsys.readouterr().err
    assert name in errors
    assert message in errors
    assert not (tmp_path / "run").exists()


def test_bad_input__the_same_folder_twice(
    flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = flags("pretrain", tmp_path / "run")
    given.insert(given.index("--data") + 2, str(folder))
    assert main(given) == 2
    assert f"expected each data set once, got {folder} twice" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(folder)
    given[given.index("--data") + 2] = str(tmp_path / "link")
    assert main(given) == 2
    assert "are the same: their tables are equal" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_position__of_each_set_is_kept_when_a_run_goes_on(
    words: Words, worlds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = (*SIX_STEPS, "--loss.center", "position")
    assert main(words("pretrain", tmp_path / "whole", *position)) == 0
    prepared = json.loads((tmp_path / "whole" / "prepared.json").read_text())
    assert prepared["features"]["position_share"].keys() == {"world", "south"}
    with stopping_after(2, monkeypatch):
        assert main(words("pretrain", tmp_path / "stopped", *position)) == 130
    assert main(["pretrain", "--resume", str(tmp_path / "stopped")]) == 0
    first, second = (
        load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "stopped")
    )
    assert first.network["outputs.features.position"].shape[:2] == (2, 6)
    assert all(torch.equal(first.network[name], second.network[name]) for name in first.network)
    more = ["--split", "val", "--clusters", "2", "--key-frames", "2", "--device", "cpu"]
    for world in worlds:
        assert (
            main(
                [
                    "analyse",
                    str(tmp_path / "whole"),
                    "--data",
                    str(world),
                    "--out",
                    str(tmp_path / world.name),
                    *more,
                ]
            )
            == 0
        )

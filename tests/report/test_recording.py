"""Recordings of `occfeat view`, read back by rerun's own reader."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from occfeat.cli import main
from occfeat.commands.dataset.view_scene import voxels_by_features, voxels_by_height
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.lidar import Points
from occfeat.data.sweeps.by_time import read_by_time
from occfeat.geometry.grid import build_grid
from occfeat.report.viewer import layout
from occfeat.runs.card import read_card
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig
from tests.support.nuscenes_folder import edit_table
from tests.support.small_runs import Flags

rerun_chunk = pytest.importorskip("rerun.chunk", reason="needs the extra `viz`")


@pytest.fixture(scope="module")
def pretrained(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pre"
    assert main(flags("pretrain", run, "--optim.epochs", "1")) == 0
    return run


@pytest.fixture(scope="module")
def finetuned(flags: Flags, pretrained: Path) -> Path:
    run = pretrained.parent / "tuned"
    words = ["--start", str(pretrained), "--val-split", "None", "--optim.epochs", "1", "--pictures", "0"]
    assert main(flags("finetune", run, *words)) == 0
    return run


def chunks(file: Path) -> Iterator[Any]:
    yield from rerun_chunk.RrdReader(file).stream()


def rows_by_entity(file: Path) -> dict[str, int]:
    """How many rows with data were recorded for each entity."""
    counts: dict[str, int] = {}
    for chunk in chunks(file):
        counts[chunk.entity_path] = counts.get(chunk.entity_path, 0) + chunk.num_rows
    return counts


def column(file: Path, entity: str, ending: str) -> list[Any]:
    """Values of one component of an entity, in the order of the key frames."""
    found = {}
    for chunk in chunks(file):
        batch = chunk.to_record_batch()
        names = [name for name in batch.schema.names if name.endswith(ending)]
        if chunk.entity_path == entity and names:
            found |= dict(
                zip(batch.column("key_frame").to_pylist(), batch.column(names[0]).to_pylist(), strict=True)
            )
    return [found[number] for number in sorted(found)]


def test_view__records_a_scene(
    folder: Path, pretrained: Path, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scene.rrd"
    runs = ["--run", str(finetuned), "--pretraining", str(pretrained)]
    assert main(["view", str(folder), "--out", str(file), "--view.image-size", "90", "160", *runs]) == 0
    assert "3 key frames of" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["scene.rrd"]
    counts = rows_by_entity(file)
    index = Index.open(DataConfig(root=folder))
    cameras = [f"cameras/{channel}/image" for channel in index.channels]
    for entity in ("lidar", "voxels", "boxes", "labels/vehicle", "predicted/vehicle", *cameras):
        assert counts[f"/world/ego/{entity}"] == 3
    rows = index.rows("all")[:3]
    voxels = voxels_by_features(pretrained, index, rows)
    recorded = column(file, "/world/ego/voxels", ":centers")
    assert [len(centers) for centers in recorded] == [len(voxels[int(row)].centers_ego) for row in rows]
    assert len(rerun_chunk.RrdReader(file).blueprints()) == 1
    poses = torch.stack([index.key_frame(row).global_from_ego for row in rows])
    moved = torch.tensor(column(file, "/world/ego", ":translation")).view(3, 3).double()
    assert moved[0].abs().max() < 1e-6
    assert torch.allclose(moved.norm(dim=1), (poses - poses[0])[:, :3, 3].norm(dim=1), atol=1e-3)


def test_view__records_the_sweeps_of_a_window_by_time(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "scene.rrd"
    words = ["--out", str(file), "--view.image-size", "90", "160", "--window-s", "0.5"]
    assert main(["view", str(folder), *words]) == 0
    index = Index.open(DataConfig(root=folder))
    points, window = (column(file, f"/world/ego/{name}", ":positions") for name in ("lidar", "window"))
    colors = column(file, "/world/ego/window", ":colors")
    for row, (own, together, shown) in enumerate(zip(points, window, colors, strict=True)):
        points_ego, after_s = read_by_time(index, ViewConfig(), row, 0.5)
        assert torch.allclose(torch.tensor(together), points_ego)
        assert len(together) > len(own)
        of_time = {after_s[shown_as == torch.tensor(shown)].unique().numel() for shown_as in set(shown)}
        assert of_time == {1}  # one colour is one time
        assert len(set(shown)) == after_s.unique().numel() > 1


def test_layout__cameras_as_one_sees_them_from_the_car(folder: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    view = ViewConfig(image_size=(90, 160))
    key_frames = KeyFrames(index, view, Contents(), grid=build_grid(GridConfig()))
    sample = key_frames.sample(int(index.rows("all")[0]))
    whole = layout(sample.cameras, key_frames.channels, predicted=True).root_container
    ahead, behind, below = whole.contents
    assert [view.name for view in ahead.contents] == ["CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"]
    assert [view.name for view in behind.contents] == ["CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"]
    assert [view.name for view in below.contents] == ["street", "labels", "predicted"]
    alone = layout(sample.cameras, key_frames.channels, predicted=False).root_container
    assert [view.name for view in alone.contents[-1].contents] == ["street", "labels"]
    for window, shown in ((False, "lidar"), (True, "window")):
        around = layout(sample.cameras, key_frames.channels, predicted=False, window=window).root_container
        for view in (*around.contents[0].contents, around.contents[-1].contents[0]):
            assert [name for name in ("lidar", "window") if f"/world/ego/{name}" in view.contents] == [shown]


def test_view__draws_on_images_of_lenses_itself(folder: Path, tmp_path: Path) -> None:
    bent = tmp_path / "bent"
    shutil.copytree(folder, bent)
    edit_table(bent, "calibrated_sensor", _give_lens)
    file = tmp_path / "scene.rrd"
    assert main(["view", str(bent), "--out", str(file), "--view.image-size", "90", "160"]) == 0
    counts = rows_by_entity(file)
    flat = [entity for entity in counts if entity.startswith("/world/ego/cameras/") and "/lidar" in entity]
    assert flat == ["/world/ego/cameras/CAM_BACK/lidar"]
    assert counts["/world/ego/cameras/CAM_BACK/boxes"] == counts["/world/ego/cameras/CAM_BACK/image"] == 3
    drawn = column(file, flat[0], ":positions")
    assert len(drawn) == 3
    points = torch.tensor(drawn[0])
    assert len(points) > 10
    assert ((points >= 0) & (points < torch.tensor([160.0, 90.0]))).all()


def _give_lens(records: list[dict[str, Any]]) -> None:
    """Make the rear camera a fisheye: the one that looks back."""
    rear = [one for one in records if one["camera_intrinsic"] and one["translation"][0] < 0.6]
    for record in rear:
        record["lens"] = {"model": "f_theta", "coefficients": [1.0, 0.0, -0.05]}


def test_voxels__one_basis_for_the_whole_scene(folder: Path, pretrained: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    rows = index.rows("all")[:3]
    voxels = voxels_by_features(pretrained, index, rows)
    colors = torch.cat([voxels[int(row)].colors for row in rows])
    assert colors.min() == 0
    assert colors.max() == 1
    alone = voxels_by_features(pretrained, index, rows[:1])[int(rows[0])]
    assert torch.equal(alone.centers_ego, voxels[int(rows[0])].centers_ego)
    assert not torch.equal(alone.colors, voxels[int(rows[0])].colors)


def test_voxels_by_height__are_those_that_hold_a_point(pretrained: Path) -> None:
    grid = build_grid(read_card(pretrained).grid)
    points_ego = torch.tensor([[0.2, 0.3, -0.5], [0.4, 0.1, -0.9], [5.5, 2.5, 2.5], [99.0, 0.0, 0.0]])
    voxels = voxels_by_height(Points.of_one_key_frame(points_ego, torch.zeros_like(points_ego)), grid)
    assert voxels.centers_ego.tolist() == [[0.5, 0.5, -0.5], [5.5, 2.5, 2.5]]
    assert not torch.equal(voxels.colors[0], voxels.colors[1])


def test_view__refuses_what_it_cannot_show(
    folder: Path,
    pretrained: Path,
    finetuned: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def said(name: str, *words: object) -> str:
        assert main(["view", str(folder), "--out", str(tmp_path / name), *map(str, words)]) == 2
        return capsys.readouterr().err

    assert "Only recordings show runs" in said("view.png", "--run", finetuned)
    assert "is not a pretraining run" in said("view.rrd", "--pretraining", finetuned)
    assert "got the pretraining run" in said("view.rrd", "--run", pretrained)
    monkeypatch.setattr("occfeat.machine.extras.find_spec", lambda _: None)
    assert "pip install 'occfeat[viz]'" in said("view.rrd")
    assert list(tmp_path.iterdir()) == []


def test_view__of_a_run_that_distilled_nothing(
    flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "pre"
    assert main(flags("pretrain", run, "--optim.epochs", "1", "--loss.features", "0")) == 0
    words = ["view", str(folder), "--out", str(tmp_path / "view.rrd"), "--pretraining", str(run)]
    assert main(words) == 2
    assert "distilled no features" in capsys.readouterr().err


def test_view__records_cameras_alone_at_any_time(folder: Path, tmp_path: Path) -> None:
    """A data set without LiDAR, whose times are in nanoseconds, which no calendar has."""
    data, file = Path(shutil.copytree(folder, tmp_path / "data")), tmp_path / "scene.rrd"

    def in_nanoseconds(records: list[dict[str, Any]]) -> None:
        for one in records:
            one["timestamp"] *= 1000

    def without_lidar(records: list[dict[str, Any]]) -> None:
        records[:] = [one for one in records if "LIDAR" not in one["filename"]]
        in_nanoseconds(records)

    edit_table(data, "sample_data", without_lidar)
    edit_table(data, "sample", in_nanoseconds)
    assert main(["view", str(data), "--out", str(file), "--view.image-size", "90", "160"]) == 0
    counts = rows_by_entity(file)
    index = Index.open(DataConfig(root=data))
    for entity in ("boxes", "labels/vehicle", *(f"cameras/{channel}/image" for channel in index.channels)):
        assert counts[f"/world/ego/{entity}"] == 3
    assert not {"/world/ego/lidar", "/world/ego/voxels"} & counts.keys()


def test_view__records_the_key_frames_without_a_lidar_file_too(folder: Path, tmp_path: Path) -> None:
    data, file = Path(shutil.copytree(folder, tmp_path / "data")), tmp_path / "scene.rrd"
    index = Index.open(DataConfig(root=data))
    (data / index.key_frame(1).sweeps[0].path).unlink()
    assert main(["view", str(data), "--out", str(file), "--view.image-size", "90", "160"]) == 0
    counts = rows_by_entity(file)
    assert counts["/world/ego/boxes"] == 3
    assert counts["/world/ego/lidar"] == counts["/world/ego/voxels"] == 2

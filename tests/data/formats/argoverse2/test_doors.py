"""One street, two doors: nuScenes' format and Argoverse 2 give the same images, targets and labels."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents, ImagesForTeacher
from occfeat.data.sample.sample import Sample, collate
from occfeat.data.sample.teacher import TeacherImages
from occfeat.data.sweeps.points import read_points
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.occupancy import OccupancyTarget
from occfeat.settings.sections import DataConfig, PretrainLossConfig, ViewConfig
from tests.support.argoverse_folder import build_argoverse_folder, log_name

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
CLASSES = ("vehicle", "pedestrian", "drivable_area", "ped_crossing", "divider")
CONTENTS = Contents(points=True, teacher=ImagesForTeacher((28, 42)), classes=CLASSES)
VIEW = ViewConfig(image_size=(32, 56), ego_radius_m=0)
HALF_FLOAT_SHARE = 0.029
"""Share of occupied voxels that half floats move into another voxel, as measured on this street."""


def samples(nuscenes: Path, argoverse: Path) -> Iterator[tuple[Sample, Sample]]:
    """The same key frames through both doors."""
    one, other = (Index.open(DataConfig(root=root)) for root in (nuscenes, argoverse))
    assert len(one) == len(other) > 0
    first, second = (KeyFrames(index, VIEW, CONTENTS, grid=GRID) for index in (one, other))
    for row in range(len(one)):
        key_frame = one.key_frame(row)
        token = f"{log_name(key_frame.scene)}-{key_frame.timestamp_us * 1000}"
        yield first.sample(row), second.sample(other.row_of(token))


def occupancy(sample: Sample) -> tuple[Tensor, Tensor]:
    """Occupied voxels, and those that the LiDAR observed."""
    loss = PretrainLossConfig(features=0, unknown="ignore")
    target = TargetMaker(build_objectives(loss), GRID)(collate([sample]))["occupancy"]
    assert isinstance(target, OccupancyTarget)
    assert target.counted is not None
    return target.occupied, target.counted


@pytest.fixture(scope="module")
def whole(street_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street with points of single precision."""
    return build_argoverse_folder(street_world, tmp_path_factory.mktemp("door"), precision="float32")


def test_doors__images_calibration_and_labels_are_equal(street_world: Path, whole: Path) -> None:
    found = torch.zeros(len(CLASSES))
    for ours, theirs in samples(street_world, whole):
        assert torch.equal(ours.images, theirs.images)
        assert isinstance(ours.teacher, TeacherImages)
        assert isinstance(theirs.teacher, TeacherImages)
        assert torch.equal(ours.teacher.images, theirs.teacher.images)
        for one, other in ((ours.cameras, theirs.cameras), (ours.teacher.cameras, theirs.teacher.cameras)):
            torch.testing.assert_close(one.intrinsics, other.intrinsics, rtol=0, atol=0)
            torch.testing.assert_close(one.ego_from_camera, other.ego_from_camera, rtol=0, atol=1e-6)
        assert ours.labels is not None
        assert theirs.labels is not None
        assert torch.equal(ours.labels.target, theirs.labels.target)
        assert not theirs.labels.low_visibility.any()
        found += ours.labels.target.sum(dim=(1, 2))
    assert (found > 0).all()


def test_doors__occupancy_is_equal(street_world: Path, whole: Path) -> None:
    """Also the space that each ray passed, for which its origin counts."""
    for ours, theirs in samples(street_world, whole):
        for one, other in zip(occupancy(ours), occupancy(theirs), strict=True):
            assert one.any()
            assert torch.equal(one, other)


def test_doors__half_floats_move_few_voxels(street_world: Path, tmp_path: Path) -> None:
    moved = occupied = 0
    for ours, theirs in samples(street_world, build_argoverse_folder(street_world, tmp_path)):
        (one, _), (other, _) = occupancy(ours), occupancy(theirs)
        moved, occupied = moved + int((one != other).sum()), occupied + int(one.sum())
    assert moved / occupied == pytest.approx(HALF_FLOAT_SHARE, abs=0.003)


def test_points__that_need_no_transform_are_those_of_the_transform(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain reference of the short cut for points that are in the ego frame already."""
    index = Index.open(DataConfig(root=whole))
    records = index.key_frame(0).sweeps
    short = read_points(index.source, records, ego_radius_m=3.0)
    monkeypatch.setattr("occfeat.data.sweeps.points._is_identity", lambda transform: False)
    plain = read_points(index.source, records, ego_radius_m=3.0)
    assert len(short) > 100
    torch.testing.assert_close(short.points_ego, plain.points_ego, rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(short.origins_ego, plain.origins_ego, rtol=1e-7, atol=1e-6)

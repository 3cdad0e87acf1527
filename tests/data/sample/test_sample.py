from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch, Labels, Sample, collate
from occfeat.data.sample.teacher import FeatureMaps, TeacherImages, TeacherMaps
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.lens import PINHOLE, Lens


def make_cameras(cameras: int = 2, size: tuple[int, int] = (4, 6)) -> Cameras:
    return Cameras(
        intrinsics=torch.eye(3).repeat(cameras, 1, 1),
        ego_from_camera=torch.eye(4).repeat(cameras, 1, 1),
        present=torch.ones(cameras, dtype=torch.bool),
        image_size=size,
    )


def make_points(number: int, count: int) -> Points:
    """Points at a number, whose rays began half a metre beside."""
    return Points.of_one_key_frame(
        torch.full((count, 3), float(number)), torch.full((count, 3), number + 0.5)
    )


def make_sample(number: int = 0, *, points: int | None = None, teacher: bool = False) -> Sample:
    """A sample whose tensors hold its own number."""
    return Sample(
        token=f"token{number}",
        images=torch.full((2, 3, 4, 6), number, dtype=torch.uint8),
        cameras=make_cameras(),
        teacher=(
            TeacherImages(torch.full((2, 3, 14, 28), number, dtype=torch.uint8), make_cameras(size=(14, 28)))
            if teacher
            else None
        ),
        points=None if points is None else make_points(number, points),
        labels=Labels(
            classes=("vehicle", "pedestrian"),
            target=torch.full((2, 5, 7), bool(number)),
            low_visibility=torch.zeros(2, 5, 7, dtype=torch.bool),
        ),
    )


def tensors(value: Sample | Batch | Points) -> list[Tensor]:
    """Every tensor of a value, those of its parts included, but not what stays on the host."""
    found: list[Tensor] = []
    for field in fields(value):
        if field.name == "host":
            continue
        part = getattr(value, field.name)
        if isinstance(part, Tensor):
            found.append(part)
        elif hasattr(part, "__dataclass_fields__"):
            found.extend(tensors(part))
    return found


def test_collate__stacks_everything() -> None:
    batch = collate([make_sample(0, points=3, teacher=True), make_sample(1, points=2, teacher=True)])
    assert batch.tokens == ("token0", "token1")
    assert len(batch) == 2
    assert batch.images.shape == (2, 2, 3, 4, 6)
    assert batch.images[:, 0, 0, 0, 0].tolist() == [0, 1]
    assert batch.cameras.intrinsics.shape == (2, 2, 3, 3)
    assert batch.cameras.image_size == (4, 6)
    assert isinstance(batch.teacher, TeacherImages)
    assert batch.teacher.images.shape == (2, 2, 3, 14, 28)
    assert batch.teacher.images[:, 0, 0, 0, 0].tolist() == [0, 1]
    assert batch.teacher.cameras.intrinsics.shape == (2, 2, 3, 3)
    assert batch.teacher.cameras.image_size == (14, 28)
    assert batch.labels is not None
    assert batch.labels.classes == ("vehicle", "pedestrian")
    assert batch.labels.target[:, 0, 0, 0].tolist() == [False, True]


def test_collate__points_know_their_key_frame() -> None:
    batch = collate([make_sample(0, points=3), make_sample(1, points=0), make_sample(2, points=2)])
    points = batch.points
    assert points is not None
    assert len(points) == 5
    assert points.key_frame.tolist() == [0, 0, 0, 2, 2]
    assert torch.equal(points.points_ego[:, 0], points.key_frame.float())
    assert torch.equal(points.origins_ego, points.points_ego + 0.5)
    third = points.of_key_frame(2)
    assert all(
        torch.equal(found, wanted)
        for found, wanted in zip(tensors(third), tensors(make_points(2, 2)), strict=True)
    )


FISHEYE = Lens("kannala_brandt", (0.1, 0.0, 0.0, 0.0))


def with_lenses(sample: Sample, *lenses: Lens) -> Sample:
    return replace(sample, cameras=replace(sample.cameras, lenses=stack_lenses(lenses)))


def test_collate__pinholes_have_no_lenses() -> None:
    assert with_lenses(make_sample(0), PINHOLE, PINHOLE).cameras.lenses is None
    assert collate([make_sample(0), make_sample(1)]).cameras.lenses is None


@pytest.mark.parametrize("first", [0, 1])
def test_collate__samples_with_and_without_lenses(first: int) -> None:
    samples = [make_sample(0, teacher=True), with_lenses(make_sample(1, teacher=True), PINHOLE, FISHEYE)]
    batch = collate([samples[first], samples[1 - first]])
    expected = [[PINHOLE.numbers(), PINHOLE.numbers()], [PINHOLE.numbers(), FISHEYE.numbers()]]
    assert batch.cameras.lenses is not None
    expected = [expected[first], expected[1 - first]]
    torch.testing.assert_close(batch.cameras.lenses, torch.tensor(expected))
    torch.testing.assert_close(batch.cameras.of_key_frame(0).lenses, torch.tensor(expected[0]))
    assert isinstance(batch.teacher, TeacherImages)
    assert batch.teacher.cameras.lenses is None


def test_collate__only_empty_clouds() -> None:
    batch = collate([make_sample(0, points=0), make_sample(1, points=0)])
    assert batch.points is not None
    assert batch.points.points_ego.shape == (0, 3)
    assert batch.points.key_frame.shape == (0,)


def test_collate__what_a_stage_does_not_need_is_none() -> None:
    batch = collate([replace(make_sample(), labels=None)])
    assert batch.teacher is None
    assert batch.points is None
    assert batch.labels is None


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (make_sample(1, points=2), "LiDAR points"),
        (make_sample(1, teacher=True), "a part for the teacher"),
        (replace(make_sample(1), labels=None), "labels"),
    ],
)
def test_collate__refuses_samples_that_were_not_read_alike(other: Sample, what: str) -> None:
    with pytest.raises(ValueError, match=f"expected {what} in all samples or none"):
        collate([make_sample(0), other])


def test_collate__stored_maps() -> None:
    maps = FeatureMaps(torch.zeros(2, 4, 5, 7, dtype=torch.int8), torch.ones(2, 4, 5))
    sample = replace(make_sample(), teacher=TeacherMaps(maps, make_cameras(size=(14, 28))))
    batch = collate([sample, sample, sample])
    assert isinstance(batch.teacher, TeacherMaps)
    assert batch.teacher.maps.values.shape == (3, 2, 4, 5, 7)
    assert batch.teacher.maps.scales.shape == (3, 2, 4, 5)
    assert batch.teacher.cameras.present.shape == (3, 2)


def test_collate__rigs_of_different_size_get_absent_cameras() -> None:
    maps = FeatureMaps(torch.ones(3, 4, 5, 7, dtype=torch.int8), torch.ones(3, 4, 5))
    large = replace(
        make_sample(1),
        images=torch.ones(3, 3, 4, 6, dtype=torch.uint8),
        cameras=make_cameras(3),
        teacher=TeacherMaps(maps, make_cameras(3, size=(14, 28))),
    )
    part = FeatureMaps(maps.values[:2].half(), maps.scales[:2])  # a cache of another type
    small = replace(make_sample(0), teacher=TeacherMaps(part, make_cameras(size=(14, 28))))
    batch = collate([small, large])
    assert batch.cameras.present.tolist() == [[True, True, False], [True, True, True]]
    assert batch.images[0, 2].count_nonzero() == 0
    assert torch.equal(batch.cameras.intrinsics[0, 2], torch.eye(3))
    assert torch.equal(batch.cameras.ego_from_camera[0, 2], torch.eye(4))
    assert isinstance(batch.teacher, TeacherMaps)
    assert torch.equal(batch.teacher.cameras.present, batch.cameras.present)
    decoded = batch.teacher.maps.decode()
    assert (decoded[0, :2] == 1).all()
    assert (decoded[1] == 1).all()
    assert decoded[0, 2].count_nonzero() == 0


def test_collate__absent_cameras_are_pinholes_beside_lenses() -> None:
    fisheye = torch.arange(len(PINHOLE.numbers())).float().expand(3, -1)
    bent = replace(make_cameras(3), lenses=fisheye)
    large = replace(make_sample(1), images=torch.ones(3, 3, 4, 6, dtype=torch.uint8), cameras=bent)
    few = replace(make_sample(2), cameras=replace(make_cameras(), lenses=fisheye[:2]))
    lenses = collate([make_sample(0), large, few]).cameras.lenses
    assert lenses is not None
    pinhole = torch.tensor(PINHOLE.numbers()).float()
    assert torch.equal(lenses[0], pinhole.expand(3, -1))
    assert torch.equal(lenses[1], fisheye)
    assert torch.equal(lenses[2], torch.stack((*fisheye[:2], pinhole)))


def test_collate__rigs_of_different_size_with_images_of_the_teacher() -> None:
    large = replace(
        make_sample(1),
        images=torch.ones(3, 3, 4, 6, dtype=torch.uint8),
        cameras=make_cameras(3),
        teacher=TeacherImages(torch.ones(3, 3, 14, 28, dtype=torch.uint8), make_cameras(3, size=(14, 28))),
    )
    batch = collate([large, make_sample(0, teacher=True)])
    assert isinstance(batch.teacher, TeacherImages)
    assert batch.teacher.images.shape == (2, 3, 3, 14, 28)
    assert batch.teacher.cameras.present.tolist() == [[True] * 3, [True, True, False]]


def test_to__moves_every_tensor_and_keeps_the_rest() -> None:
    batch = collate([make_sample(0, points=3, teacher=True)])
    moved = batch.to("meta")
    assert len(tensors(moved)) == len(tensors(batch)) == 13
    assert all(tensor.device.type == "meta" for tensor in tensors(moved))
    assert moved.cameras.on_host() is batch.cameras
    assert all(tensor.device.type == "cpu" for tensor in tensors(batch))
    assert moved.tokens == batch.tokens
    assert moved.cameras.image_size == (4, 6)
    assert moved.labels is not None
    assert moved.labels.classes == ("vehicle", "pedestrian")


def test_to__keeps_values() -> None:
    sample = make_sample(1, points=3)
    assert all(
        torch.equal(copy, one) for copy, one in zip(tensors(sample.to("cpu")), tensors(sample), strict=True)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_pin_memory__of_every_tensor() -> None:
    assert all(tensor.is_pinned() for tensor in tensors(collate([make_sample(points=3)]).pin_memory()))


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_sample().token = "other"  # type: ignore[misc]

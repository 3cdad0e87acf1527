import gc
import math
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from occfeat.data import dataset
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents, ImagesForTeacher
from occfeat.data.sample.sample import Sample, collate
from occfeat.data.sample.teacher import FeatureMaps, TeacherImages, TeacherMaps
from occfeat.errors import KeyFrameError, SettingsError
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from occfeat.training.loading.loaders import Draws, Loaded, collate_readable
from tests.data.test_augment import EVERYTHING
from tests.support.nuscenes_folder import CHANNELS, edit_table

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
VIEW = ViewConfig(image_size=(45, 80))
EVERY_PART = Contents(points=True, classes=("vehicle", "pedestrian"), teacher=ImagesForTeacher((56, 98)))


def key_frames(index: Index, view: ViewConfig = VIEW, augment: AugmentConfig | None = None) -> KeyFrames:
    return KeyFrames(index, view, EVERY_PART, grid=GRID, augment=augment)


def read(data: KeyFrames, row: int = 0, epoch: int = 0) -> Sample:
    sample = data.read(Draw(row, epoch))
    assert isinstance(sample, Sample), sample
    return sample


def test_getitem(index: Index) -> None:
    sample = read(key_frames(index), 2)
    record = index.key_frame(2)
    assert sample.token == index.token(2)
    assert sample.images.shape == (6, 3, 45, 80)
    assert isinstance(sample.teacher, TeacherImages)
    assert sample.teacher.images.shape == (6, 3, 56, 98)
    assert sample.cameras.present.all()
    expected = record.cameras[1].intrinsics * torch.tensor([[0.5], [0.5], [1]])
    torch.testing.assert_close(sample.cameras.intrinsics[1].double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        sample.cameras.ego_from_camera[1].double(),
        record.cameras[1].lidar_ego_from_camera,
        rtol=1e-6,
        atol=1e-6,
    )
    assert sample.labels is not None
    assert sample.labels.target.shape == (2, 200, 200)
    assert sample.labels.target[0].sum() > 100
    assert sample.points is not None
    assert len(sample.points) == 2320


def test_getitem__parts_nobody_asked_for(index: Index) -> None:
    sample = read(KeyFrames(index, VIEW, Contents(), grid=GRID))
    assert sample.teacher is sample.points is sample.labels is None


def test_images__are_decoded_at_half_scale_unless_an_effect_wants_them_whole(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []

    def note(image: torch.Tensor, *_: object) -> torch.Tensor:
        sizes.append((image.shape[1], image.shape[2]))
        return image

    write_changed = dataset.write_changed
    monkeypatch.setattr(dataset, "write_changed", lambda image, *rest: write_changed(note(image), *rest))
    view = ViewConfig(image_size=(45, 80))
    read(KeyFrames(index, view, Contents(), grid=GRID))
    assert set(sizes) == {(45, 80)}
    sizes.clear()
    read(KeyFrames(index, view, Contents(), grid=GRID, effect=lambda file, *_: note(file())))
    assert set(sizes) == {(90, 160)}


def test_getitem__uncompensated(index: Index) -> None:
    sample = read(key_frames(index, ViewConfig(image_size=(45, 80), compensate_ego_motion=False)))
    calibration = torch.stack([camera.camera_ego_from_camera for camera in index.key_frame(0).cameras])
    torch.testing.assert_close(sample.cameras.ego_from_camera.double(), calibration, rtol=1e-6, atol=1e-6)


def test_getitem__chosen_cameras(index: Index) -> None:
    view = ViewConfig(image_size=(45, 80), cameras=("CAM_BACK", "CAM_FRONT"))
    sample, whole = read(key_frames(index, view)), read(key_frames(index))
    assert torch.equal(sample.images, whole.images[[3, 0]])
    with pytest.raises(SettingsError, match="no camera CAM_TOP"):
        key_frames(index, ViewConfig(cameras=("CAM_TOP",)))


def test_getitem__missing_camera(folder: Path) -> None:
    edit_table(
        folder,
        "sample_data",
        lambda records: records.remove(next(one for one in records if "CAM_BACK_LEFT" in one["filename"])),
    )
    sample = read(key_frames(Index.open(DataConfig(root=folder))))
    assert sample.cameras.present.tolist() == [channel != "CAM_BACK_LEFT" for channel in CHANNELS]
    assert not sample.images[4].any()
    assert sample.images[3].any()


@pytest.mark.parametrize("augment", [None, EVERYTHING])
def test_getitem__any_image_size(folder: Path, augment: AugmentConfig | None) -> None:
    index = Index.open(DataConfig(root=folder))
    for size in ((64, 64), (90, 160), (200, 120)):
        assert read(key_frames(index, ViewConfig(image_size=size), augment)).images.shape == (6, 3, *size)


def paint_points(index: Index, row: int) -> torch.Tensor:
    """Replace the images of a key frame by soft spots where one 3-D point per camera is seen."""
    record = index.key_frame(row)
    points = []
    for i, camera in enumerate(record.cameras):
        forward = torch.tensor([[0.3 * (i - 2), 0.2, 8.0 + i]], dtype=torch.float64)
        pixel, _ = project(camera.intrinsics, forward)
        rows, columns = torch.meshgrid(torch.arange(90) + 0.5, torch.arange(160) + 0.5, indexing="ij")
        distance = (columns - pixel[0, 0]) ** 2 + (rows - pixel[0, 1]) ** 2
        light = (255 * torch.exp(-distance / (2 * 4.0**2))).round().to(torch.uint8)
        Image.fromarray(light.numpy()).convert("RGB").save(index.root / camera.path, quality=98)
        points.append(transform_points(camera.lidar_ego_from_camera, forward)[0])
    return torch.stack(points)


@pytest.mark.parametrize(
    "augment",
    [
        None,
        AugmentConfig(image_flip=True),
        AugmentConfig(scale=(0.8, 1.2), shift=0.1),
        AugmentConfig(image_rotation_deg=10),
        AugmentConfig(bev_rotation_deg=180, bev_flip=True),
        EVERYTHING,
    ],
)
def test_getitem__points_stay_under_their_pixels(index: Index, augment: AugmentConfig | None) -> None:
    """Whatever is done to images and ego frame, a point is seen where its light is; for the teacher too."""
    points_ego = paint_points(index, 0)
    data = key_frames(index, augment=augment)
    for epoch in range(3):
        sample = read(data, 0, epoch)
        moved = points_ego @ data_change(data, epoch)[:3, :3].T
        assert isinstance(sample.teacher, TeacherImages)
        for images, cameras in (
            (sample.images, sample.cameras),
            (sample.teacher.images, sample.teacher.cameras),
        ):
            for i in range(6):
                seen = transform_points(invert(cameras.ego_from_camera[i].double()), moved[i : i + 1])
                pixel, depth_m = project(cameras.intrinsics[i].double(), seen)
                if not visible_in(tuple(s - 12 for s in cameras.image_size), pixel - 6, depth_m).item():
                    continue
                light = images[i].float().mean(0).clamp(min=12) - 12
                rows = (light.sum(1) * (torch.arange(light.shape[0]) + 0.5)).sum() / light.sum()
                columns = (light.sum(0) * (torch.arange(light.shape[1]) + 0.5)).sum() / light.sum()
                assert (columns.item(), rows.item()) == pytest.approx(pixel[0].tolist(), abs=0.3)


def data_change(data: KeyFrames, epoch: int) -> torch.Tensor:
    from occfeat.data.augment import draw_change

    return draw_change(data.augment, 6, seed=data.seed, epoch=epoch, row=0).new_ego_from_ego


def test_getitem__rays_begin_at_the_sensor_whatever_is_done_to_the_ego_frame(index: Index) -> None:
    data = key_frames(index, augment=EVERYTHING)
    for epoch in range(3):
        sample = read(data, 0, epoch)
        sensor = index.key_frame(0).sweeps[0].ego_from_lidar[:3, 3] @ data_change(data, epoch)[:3, :3].T
        assert sample.points is not None
        torch.testing.assert_close(
            sample.points.origins_ego, sensor.float().expand_as(sample.points.points_ego)
        )


def test_getitem__bev_change_moves_points_and_labels_together(index: Index) -> None:
    """LiDAR returns inside vehicles stay on cells labelled vehicle."""
    for epoch in range(4):
        sample = read(key_frames(index, augment=EVERYTHING), 1, epoch)
        boxes = index.key_frame(1).boxes
        assert sample.points is not None
        assert sample.labels is not None
        first = 2000
        for i, category in enumerate(boxes.category):
            points = sample.points.points_ego[first + 40 * i : first + 40 * (i + 1)]
            cell, inside = GRID.cell_index(points)
            if category.startswith("vehicle."):
                assert sample.labels.target[0][cell[inside, 0], cell[inside, 1]].float().mean() > 0.8


def test_getitem__teacher_sees_the_unaugmented_image(index: Index) -> None:
    plain, changed = read(key_frames(index)), read(key_frames(index, augment=EVERYTHING))
    assert isinstance(plain.teacher, TeacherImages)
    assert isinstance(changed.teacher, TeacherImages)
    assert torch.equal(plain.teacher.images, changed.teacher.images)
    assert not torch.equal(plain.images, changed.images)


def test_getitem__same_draw_same_sample(index: Index) -> None:
    one, two = (read(key_frames(index, augment=EVERYTHING), 3, 5) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert not torch.equal(one.images, read(key_frames(index, augment=EVERYTHING), 3, 6).images)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8no image"])
def test_getitem__an_image_that_cannot_be_read_costs_its_camera_alone(
    folder: Path, index: Index, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    record, whole = index.key_frame(1), read(key_frames(index), 1)
    image = folder / record.cameras[2].path
    image.unlink()
    if content is not None:
        image.write_bytes(content)
    sample = read(key_frames(index), 1)
    assert len(sample.lost_images) == 1
    assert record.cameras[2].path in sample.lost_images[0]
    others = torch.tensor([camera != 2 for camera in range(6)])
    assert isinstance(sample.teacher, TeacherImages)
    assert isinstance(whole.teacher, TeacherImages)
    for cameras in (sample.cameras, sample.teacher.cameras):
        assert torch.equal(cameras.present, others)
    assert torch.equal(sample.images[others], whole.images[others])
    assert torch.equal(sample.teacher.images[others], whole.teacher.images[others])
    assert not sample.images[2].any()
    assert not sample.teacher.images[2].any()
    assert key_frames(index).sample(1).lost_images == sample.lost_images
    assert f"left out of key frame {record.token}: {sample.lost_images[0]}" in caplog.text


def test_getitem__a_key_frame_without_any_image_is_broken(folder: Path, index: Index) -> None:
    record = index.key_frame(1)
    for camera in record.cameras:
        (folder / camera.path).unlink()
    broken = key_frames(index).read(Draw(1, 0))
    assert isinstance(broken, BrokenKeyFrame)
    assert broken.token == record.token
    assert record.token in broken.message
    assert record.cameras[0].path in broken.message


def test_getitem__stored_features_of_a_lost_image_are_of_an_absent_camera(index: Index) -> None:
    class Store:
        image_size = (56, 98)

        def read(self, row: int) -> FeatureMaps:
            scales = torch.ones(6, 4, 7)
            scales[3] = 0
            scales[4, 2] = 0
            return FeatureMaps(torch.ones(6, 4, 7, 8, dtype=torch.int8), scales)

    data = KeyFrames(index, VIEW, Contents(teacher=Store()), grid=GRID)
    sample = read(data, 1)
    assert isinstance(sample.teacher, TeacherMaps)
    assert sample.teacher.cameras.present.tolist() == [True, True, True, False, True, True]
    assert sample.cameras.present.all()


def test_getitem__without_lidar(folder: Path) -> None:
    edit_table(
        folder,
        "sample_data",
        lambda records: records.remove(next(one for one in records if "samples/LIDAR" in one["filename"])),
    )
    index = Index.open(DataConfig(root=folder))
    broken = key_frames(index).read(Draw(0, 0))
    assert isinstance(broken, BrokenKeyFrame)
    assert "no LiDAR record" in broken.message
    assert isinstance(KeyFrames(index, VIEW, Contents(), grid=GRID).read(Draw(0, 0)), Sample)


def test_collate_readable(index: Index) -> None:
    data = key_frames(index)
    broken = BrokenKeyFrame("x", "gone")
    loaded = collate_readable([read(data, 0), broken, read(data, 4)])
    assert loaded.broken == (broken,)
    assert loaded.batch is not None
    assert loaded.batch.tokens == (index.token(0), index.token(4))
    assert loaded.batch.images.shape == (2, 6, 3, 45, 80)
    assert collate_readable([broken]) == Loaded(None, (broken,))
    lacking = replace(read(data, 2), lost_images=("a is missing.", "b is missing."))
    (one,) = collate_readable([lacking, broken]).incomplete
    assert one.token == index.token(2)
    assert one.message == "a is missing. b is missing."
    (of_set,) = collate_readable([replace(lacking, data_set="boston")]).incomplete
    assert of_set.token == f"boston/{index.token(2)}"


@pytest.mark.parametrize("workers", [1, 2])
def test_data_loader__workers_give_the_same(index: Index, workers: int) -> None:
    data = key_frames(index, augment=EVERYTHING)
    draws = [[Draw(row, 1) for row in rows] for rows in ((0, 1), (2, 3), (4, 5))]
    loader = DataLoader(
        Draws(data),
        batch_sampler=draws,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=collate_readable,
        multiprocessing_context="spawn" if workers == 1 else "fork",
    )
    for loaded, rows in zip(loader, draws, strict=True):
        here = collate_readable([data.read(draw) for draw in rows])
        assert loaded.batch is not None
        assert here.batch is not None
        assert loaded.batch.tokens == here.batch.tokens
        assert torch.equal(loaded.batch.images, here.batch.images)
        assert loaded.batch.points is not None
        assert here.batch.points is not None
        torch.testing.assert_close(loaded.batch.points.points_ego, here.batch.points.points_ego)


@pytest.mark.parametrize("workers", [0, 2])
def test_key_frames__are_a_plain_data_set_of_a_split(index: Index, workers: int) -> None:
    rows = index.rows("mini_val")
    data = KeyFrames(index, VIEW, EVERY_PART, grid=GRID, rows="mini_val")
    assert len(data) == len(rows) > 2
    assert data[1].token == index.token(int(rows[1]))
    assert data[-1].token == index.token(int(rows[-1]))
    with pytest.raises(IndexError):
        data[len(rows)]
    loader = DataLoader(data, batch_size=2, num_workers=workers, collate_fn=collate)
    batches = list(loader)
    assert [token for batch in batches for token in batch.tokens] == [index.token(int(row)) for row in rows]
    assert all(batch.points is not None and batch.labels is not None for batch in batches)
    assert [one.token for one in data] == [index.token(int(row)) for row in rows]  # type: ignore[attr-defined]


def test_key_frames__of_chosen_rows(index: Index) -> None:
    data = KeyFrames(index, VIEW, Contents(), grid=GRID, rows=index.rows("all")[[4, 1]])
    assert [data[0].token, data[1].token] == [index.token(4), index.token(1)]
    with pytest.raises(SettingsError, match="nowhere"):
        KeyFrames(index, VIEW, Contents(), grid=GRID, rows="nowhere")


def test_key_frames__positions_and_rows_draw_the_same_changes(index: Index) -> None:
    data = KeyFrames(
        index, VIEW, Contents(), grid=GRID, rows=index.rows("all")[2:], augment=EVERYTHING, seed=5
    )
    for epoch in (0, 3):
        again = read(data, row=3, epoch=epoch)
        assert torch.equal(data.of_epoch(epoch)[1].images, again.images)
        assert torch.equal(data.of_epoch(epoch)[1].cameras.ego_from_camera, again.cameras.ego_from_camera)
    assert not torch.equal(data[1].images, data.of_epoch(3)[1].images)
    assert data.epoch == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_key_frames__one_that_cannot_be_read_raises_in_a_plain_loader(folder: Path, workers: int) -> None:
    index = Index.open(DataConfig(root=folder))
    path = index.key_frame(1).sweeps[0].path
    (folder / path).unlink()
    data = KeyFrames(index, VIEW, Contents(points=True), grid=GRID)
    with pytest.raises(KeyFrameError, match=path) as caught:
        list(DataLoader(data, batch_size=2, num_workers=workers, collate_fn=collate))
    assert index.token(1) in str(caught.value)
    assert "occfeat check" in str(caught.value)


class Seen:
    """A store whose maps hold the row."""

    image_size = (28, 56)

    def read(self, row: int) -> FeatureMaps:
        return FeatureMaps(torch.full((6, 2, 4, 5), row, dtype=torch.int8), torch.ones(6, 2, 4))


def test_getitem__stored_maps_come_with_the_cameras_of_their_images(index: Index) -> None:
    data = KeyFrames(index, VIEW, Contents(teacher=Seen()), grid=GRID, rows=index.rows("all")[3:])
    saw = data[1].teacher
    assert isinstance(saw, TeacherMaps)
    assert (saw.maps.values == 4).all()
    assert saw.cameras.image_size == (28, 56)
    seeing = KeyFrames(index, VIEW, Contents(teacher=ImagesForTeacher((28, 56))), grid=GRID).sample(4).teacher
    assert isinstance(seeing, TeacherImages)
    assert torch.equal(saw.cameras.intrinsics, seeing.cameras.intrinsics)


def test_memory_does_not_grow(index: Index) -> None:
    """Reading the same key frames again and again leaves nothing behind."""
    data = key_frames(index)
    process = psutil.Process()

    def rounds(count: int) -> int:
        for _ in range(count):
            for row in range(len(index)):
                read(data, row)
        gc.collect()
        return int(process.memory_info().rss)

    before = rounds(2)
    assert rounds(4) - before < 8e6


@pytest.mark.data
def test_real_key_frame__lidar_lands_on_vehicles_of_the_label(nuscenes_root: Path) -> None:
    index = Index.open(DataConfig(root=nuscenes_root))
    sample = read(KeyFrames(index, ViewConfig(), Contents(points=True, classes=("vehicle",)), grid=GRID))
    assert sample.points is not None
    assert sample.labels is not None
    height_m = sample.points.points_ego[:, 2]
    high = sample.points.points_ego[(height_m > 0.4) & (height_m < 1.6)]
    cell, inside = GRID.cell_index(high)
    hit = torch.zeros(200, 200, dtype=torch.bool)
    hit[cell[inside, 0], cell[inside, 1]] = True
    labelled = sample.labels.target[0]
    chance = labelled.float().mean().item()
    share = (hit & labelled).sum().item() / hit.sum().item()
    assert share > 5 * chance
    assert math.isclose(labelled.sum().item(), 394, abs_tol=60)

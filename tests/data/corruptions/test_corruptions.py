from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from occfeat.data import dataset
from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES, Corruption, chosen, random_numbers
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord
from occfeat.data.sample.contents import Contents, ImagesForTeacher
from occfeat.data.sample.sample import Sample
from occfeat.data.sample.teacher import TeacherImages
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import CorruptionName, DataConfig, Severity, ViewConfig
from occfeat.training.loading.loaders import Draws, collate_readable
from tests.data.corruptions.scene import made_up_image
from tests.support.nuscenes_folder import CHANNELS, build_nuscenes_folder

GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))
VIEW = ViewConfig(image_size=(45, 80))
IMAGE = torch.from_numpy(made_up_image(90, 160)).permute(2, 0, 1)
every_corruption = pytest.mark.parametrize("name", NAMES)
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def read() -> torch.Tensor:
    return IMAGE


def camera(channel: str = "CAM_FRONT", size: tuple[int, int] = (90, 160)) -> CameraRecord:
    eye = torch.eye(4, dtype=torch.float64)
    return CameraRecord(channel, "", f"samples/{channel}/x.jpg", size, eye[:3, :3], eye, eye)


@pytest.fixture(scope="module")
def index(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def key_frames(index: Index, corruption: Corruption | None) -> KeyFrames:
    return KeyFrames(index, VIEW, Contents(teacher=ImagesForTeacher((56, 98))), grid=GRID, effect=corruption)


def test_chosen() -> None:
    assert chosen(("all",)) == NAMES
    assert len(NAMES) == 8
    assert chosen(("Snow", "Fog", "Snow")) == ("Fog", "Snow")
    assert chosen(()) == ()


def test_random_numbers__keys_do_not_run_into_one_another() -> None:
    keys: list[tuple[object, ...]] = [(0, "a"), (0, "a", ""), ("0a",), (0, "b"), (1, "a"), ("0", "a")]
    drawn = {random_numbers(*key).random() for key in keys}
    assert len(drawn) == len(keys)
    assert random_numbers(0, "a").random() == random_numbers(0, "a").random()


def test_random_numbers__are_the_same_on_every_machine() -> None:
    assert random_numbers(0, "token", "CAM_FRONT").integers(1000, size=4).tolist() == [222, 848, 734, 418]


@every_severity
@every_corruption
def test_call__same_key_same_image(name: CorruptionName, severity: Severity) -> None:
    corruption = Corruption(name, severity, CHANNELS, seed=3)
    before = IMAGE.clone()
    ours = corruption(read, camera(), "token", 0)
    assert torch.equal(IMAGE, before)
    assert ours.shape == IMAGE.shape
    assert ours.dtype == torch.uint8
    assert torch.equal(ours, Corruption(name, severity, CHANNELS, seed=3)(read, camera(), "token", 0))


@every_severity
@pytest.mark.parametrize("name", ["MotionBlur", "LowLight", "Fog", "Snow"])
def test_call__every_part_of_the_key_counts(name: CorruptionName, severity: Severity) -> None:
    corruption = Corruption(name, severity, CHANNELS)
    images = [
        corruption(read, camera(), "token", 0),
        corruption(read, camera("CAM_BACK"), "token", 0),
        corruption(read, camera(), "other", 0),
        corruption(read, camera(), "token", 1),
        Corruption(name, severity, CHANNELS, seed=1)(read, camera(), "token", 0),
    ]
    assert len({one.numpy().tobytes() for one in images}) == len(images)


def test_camera_crash__is_drawn_once_for_the_whole_set() -> None:
    for seed in range(20):
        corruption = Corruption("CameraCrash", "mid", CHANNELS, seed=seed)
        black = [
            [not corruption(read, camera(channel), token, epoch).any() for channel in CHANNELS]
            for token, epoch in (("a", 0), ("b", 0), ("b", 1))
        ]
        assert black[0] == black[1] == black[2]
        assert {
            channel for channel, dead in zip(CHANNELS, black[0], strict=True) if dead
        } == corruption.crashed


@pytest.mark.parametrize(("severity", "draws"), [("easy", 2), ("mid", 4), ("hard", 5)])
def test_camera_crash__draws_with_replacement(severity: Severity, draws: int) -> None:
    """How many of six cameras are dead, against all equally likely draws counted out."""
    dead = Counter(len(Corruption("CameraCrash", severity, CHANNELS, seed).crashed) for seed in range(3000))
    every_draw = np.indices((6,) * draws).reshape(draws, -1)
    expected = Counter(len(set(one)) for one in every_draw.T.tolist())
    assert set(dead) == set(expected)
    for count, ways in expected.items():
        share = ways / 6**draws
        assert dead[count] / 3000 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 3000) + 1e-9)
    lost = Counter(
        one for seed in range(600) for one in Corruption("CameraCrash", "easy", CHANNELS, seed).crashed
    )
    assert set(lost) == set(CHANNELS)


@pytest.mark.parametrize(("severity", "probability"), [("easy", 2 / 6), ("mid", 4 / 6), ("hard", 5 / 6)])
def test_frame_lost__probability(severity: Severity, probability: float) -> None:
    corruption = Corruption("FrameLost", severity, CHANNELS)
    cameras = [camera(channel) for channel in CHANNELS]
    lost = np.array(
        [[not corruption(read, one, f"{token}", 0).any() for one in cameras] for token in range(1000)]
    )
    error = np.sqrt(probability * (1 - probability) / 1000)
    assert lost.mean() == pytest.approx(probability, abs=4 * error / np.sqrt(6))
    assert np.abs(lost.mean(axis=0) - probability).max() < 4 * error
    together = np.corrcoef(lost.T.astype(float)) - np.eye(6)
    assert np.abs(together).max() < 4.5 / np.sqrt(1000)


@every_corruption
def test_call__small_images(name: CorruptionName) -> None:
    corruption = Corruption(name, "hard", CHANNELS)
    with pytest.raises(KeyFrameError, match="40 x 31 pixels; expected at least 32 x 32"):
        corruption(lambda: IMAGE[:, :31, :40], camera(size=(31, 40)), "token", 0)
    assert corruption(lambda: IMAGE[:, :32, :32], camera(size=(32, 32)), "token", 0).shape == (3, 32, 32)


@every_corruption
@pytest.mark.parametrize("value", [0, 255])
def test_call__black_and_white_images(name: CorruptionName, value: int) -> None:
    even = torch.full((3, 40, 50), value, dtype=torch.uint8)
    for severity in SEVERITIES:
        corrupted = Corruption(name, severity, CHANNELS)(lambda: even, camera(size=(40, 50)), "token", 0)
        assert corrupted.shape == even.shape


def test_key_frames__student_is_corrupted_and_teacher_is_not(index: Index) -> None:
    clean, lost = (
        key_frames(index, one).read(Draw(0, 0)) for one in (None, Corruption("ColorQuant", "hard", CHANNELS))
    )
    assert isinstance(clean, Sample)
    assert isinstance(lost, Sample)
    assert not torch.equal(clean.images, lost.images)
    assert isinstance(clean.teacher, TeacherImages)
    assert isinstance(lost.teacher, TeacherImages)
    assert torch.equal(clean.teacher.images, lost.teacher.images)
    assert lost.cameras.present.all()


@pytest.mark.parametrize("teacher", [None, ImagesForTeacher((56, 98))])
@pytest.mark.parametrize("name", ["CameraCrash", "Fog"])
def test_key_frames__images_are_decoded_once_and_those_of_dead_cameras_not_at_all(
    index: Index, monkeypatch: pytest.MonkeyPatch, name: CorruptionName, teacher: ImagesForTeacher | None
) -> None:
    decoded: list[Path] = []

    def read_and_note(path: Path, *sizes: tuple[int, int]) -> torch.Tensor:
        decoded.append(path)
        return read_image(path, *sizes)

    monkeypatch.setattr(dataset, "read_image", read_and_note)
    corruption = Corruption(name, "mid", CHANNELS)
    data = KeyFrames(index, VIEW, Contents(teacher=teacher), grid=GRID, effect=corruption)
    assert isinstance(data.read(Draw(0, 0)), Sample)
    dead = corruption.crashed if name == "CameraCrash" and teacher is None else frozenset()
    assert sorted(path.parent.name for path in decoded) == sorted(set(CHANNELS) - dead)
    assert len(decoded) < 6 or not dead


def test_key_frames__are_corrupted_before_they_are_scaled(index: Index) -> None:
    """Scaling mixes the few values that quantisation leaves, so there are more of them again."""
    sample = key_frames(index, Corruption("ColorQuant", "hard", CHANNELS)).read(Draw(0, 0))
    assert isinstance(sample, Sample)
    assert len(sample.images.unique()) > 4


@pytest.mark.parametrize("name", ["CameraCrash", "FrameLost", "MotionBlur", "LowLight", "Fog", "Snow"])
def test_key_frames__number_of_workers_does_not_matter(index: Index, name: CorruptionName) -> None:
    data = key_frames(index, Corruption(name, "mid", index.channels, seed=1))
    draws = [[Draw(row, 0)] for row in range(4)]
    here = [collate_readable([data.read(draw) for draw in batch]).batch for batch in draws]
    for workers, start in ((1, "fork"), (2, "fork")):
        loader = DataLoader(
            Draws(data),
            batch_sampler=draws,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=collate_readable,
            multiprocessing_context=start,
            timeout=60,
        )
        for loaded, expected in zip(loader, here, strict=True):
            assert expected is not None
            assert torch.equal(loaded.batch.images, expected.images)


@pytest.mark.slow
def test_key_frames__another_process_started_afresh_gives_the_same(index: Index) -> None:
    data = key_frames(index, Corruption("Fog", "mid", index.channels, seed=1))
    loader = DataLoader(
        Draws(data),
        batch_sampler=[[Draw(1, 0)]],  # type: ignore[arg-type]
        num_workers=1,
        collate_fn=collate_readable,
        multiprocessing_context="spawn",
    )
    here = data.read(Draw(1, 0))
    assert isinstance(here, Sample)
    assert torch.equal(next(iter(loader)).batch.images[0], here.images)


def test_key_frames__image_that_is_too_small_is_a_broken_key_frame(tmp_path: Path) -> None:
    small = Index.open(DataConfig(root=build_nuscenes_folder(tmp_path / "small", image_size=(20, 30))))
    broken = key_frames(small, Corruption("Fog", "easy", CHANNELS)).read(Draw(0, 0))
    assert isinstance(broken, BrokenKeyFrame)
    assert "30 x 20 pixels; expected at least 32 x 32" in broken.message

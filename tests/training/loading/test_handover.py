"""Batches reach the training process also where shared memory cannot be used."""

import logging
import multiprocessing
import tempfile
from pathlib import Path

import pytest
import torch

from occfeat.settings.sections import EngineConfig
from occfeat.training.loading import handover
from occfeat.training.loading.handover import Parcel, pack
from occfeat.training.loading.loaders import Loaded, load_batches
from tests.support.rigs import ring_of_cameras
from tests.training.loading.test_loaders import BATCHES, Deadly


def _images(batches: list[Loaded]) -> torch.Tensor:
    return torch.cat([loaded.batch.images for loaded in batches if loaded.batch is not None])


def _load(folder: Path, workers: int) -> list[Loaded]:
    engine = EngineConfig(workers=workers)
    return list(load_batches(Deadly(folder, alive=True), BATCHES, engine, pin=False))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking
def test_long_path_of_temporary_files__batches_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    long = tmp_path / ("scratch-of-a-job-with-a-long-name-" * 5)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", str(long))  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        loaded = _load(tmp_path, workers=2)
    assert torch.equal(_images(loaded), _images(_load(tmp_path, workers=0)))
    told = [record.message for record in caplog.records if "shared memory failed" in record.message]
    assert len(told) == 1
    assert "AF_UNIX path too long" in told[0]
    assert "--shm-size" in told[0]


def test_full_shared_memory__the_value_arrives_as_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> bytes:
        raise RuntimeError("unable to write to file </torch_1>: No space left on device (28)\nfrom: …")

    value = {"rig": ring_of_cameras(2, (4, 4)), "image": torch.arange(6, dtype=torch.uint8).view(2, 3).mT}
    monkeypatch.setattr(handover.ForkingPickler, "dumps", full)
    parcel = pack(value)
    arrived = parcel.unpack()
    assert parcel.trouble == "unable to write to file </torch_1>: No space left on device (28)"
    assert torch.equal(arrived["image"], value["image"])
    assert torch.equal(arrived["rig"].intrinsics, value["rig"].intrinsics)
    assert arrived["rig"].image_size == (4, 4)
    assert not arrived["image"].is_shared()


def test_what_cannot_be_pickled__is_an_error_of_the_loading_process() -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        pack(lambda: None)


def test_parcel__is_pinned_on_its_way_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.Tensor, "pin_memory", lambda tensor: tensor.flip(-1)
    )  # there is no GPU to pin for
    arrived = Parcel(pack(Loaded(None, ())).content, "why").pin_memory()
    assert arrived.trouble == "why"
    assert arrived.unpack() == Loaded(None, ())
    pinned = pack(ring_of_cameras(1, (4, 4))).pin_memory().unpack()
    assert torch.equal(pinned.intrinsics, ring_of_cameras(1, (4, 4)).intrinsics.flip(-1))

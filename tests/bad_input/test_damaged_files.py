"""Damage that fuzzing found, or that chance would hardly find: an error that names the file, never more."""

import json
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from occfeat.errors import CacheError, KeyFrameError, OccFeatError, RunError, WeightsError
from occfeat.models.weights.loading import read_weights_file
from occfeat.release.shipped import load_model
from occfeat.runs.card import read_card
from occfeat.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from occfeat.runs.folder import RunFolder
from occfeat.runs.metrics_log import MetricsLog, read_rows
from occfeat.teacher.cache import TeacherCache
from tests.bad_input.fuzzing import run_readers


class Huge:
    """A bytearray of 3 GB in a file of some bytes, which torch itself would make."""

    def __reduce__(self) -> tuple[object, ...]:
        return bytearray, (3_000_000_000,)


def refused_torch_file(path: Path) -> str:
    """What weights and checkpoint say to a torch file; both must refuse it."""
    with pytest.raises(WeightsError) as as_weights:
        read_weights_file(path)
    with pytest.raises(RunError, match="cannot be read as a checkpoint"):
        load_checkpoint(path)
    return str(as_weights.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_file__that_would_fill_the_memory(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(2), "b": Huge()}, path, _use_new_zipfile_serialization=zipped)
    assert "bytearray" in refused_torch_file(path)


def test_torch_file__with_compressed_members(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "compressed" in refused_torch_file(path)


def test_torch_file__that_would_be_unpacked_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, elsewhere = tmp_path / "w.pth", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    assert "oldest format" in refused_torch_file(path)


@pytest.mark.parametrize("byte", [0, 1500, 3999])
def test_torch_file__with_one_wrong_byte_in_a_tensor(tmp_path: Path, byte: int) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.full((1000,), 1.5)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<f", 1.5) * 1000) + byte] ^= 1
    path.write_bytes(content)
    assert "checksum" in refused_torch_file(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02K\x01t.", pickle.dumps({"a": 1}, 0), b"PK\x05\x06" + bytes(18)]
)
def test_torch_file__of_nonsense(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert refused_torch_file(tmp_path / "w.pth")


Change = Callable[[Checkpoint], Checkpoint]


def _without_moments(saved: Checkpoint) -> Checkpoint:
    del saved.optimizer["state"][0]["exp_avg"]
    return saved


def _moments_of_another_shape(saved: Checkpoint) -> Checkpoint:
    saved.optimizer["state"][0]["exp_avg_sq"] = torch.zeros(7)
    return saved


def _complex_moments(saved: Checkpoint) -> Checkpoint:
    moments = saved.optimizer["state"][0]
    moments["exp_avg"] = moments["exp_avg"].to(torch.complex64)
    return saved


def _impossible_count(saved: Checkpoint) -> Checkpoint:
    saved.optimizer["state"][0]["step"] = torch.tensor(-1e30)
    return saved


@pytest.mark.parametrize(
    "change",
    [
        _without_moments,
        _moments_of_another_shape,
        _complex_moments,
        _impossible_count,
        lambda saved: replace(saved, network={}),
        lambda saved: replace(saved, optimizer={}),
        lambda saved: replace(saved, optimizer={"state": []}),
        lambda saved: replace(saved, random_state=torch.zeros(3)),
        lambda saved: replace(saved, step=-1),
        lambda saved: replace(saved, metrics_bytes=10**6),
    ],
)
def test_checkpoint__of_another_network_or_run(tmp_path: Path, change: Change) -> None:
    reader = run_readers.checkpoint(tmp_path)
    path = reader.targets[0].path
    save_checkpoint(path, change(load_checkpoint(path)))
    with pytest.raises(RunError, match=r"last\.pt|metrics\.jsonl"):
        reader.read(path)


def test_metrics__shorter_than_the_checkpoint_knows(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n')
    with pytest.raises(RunError, match="but had 50"):
        MetricsLog(tmp_path / "metrics.jsonl", keep_bytes=50)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\n'


@pytest.mark.parametrize("line", ["{", "[1]", '{"step": "x"}', "[" * 5000, "\0\0\0"])
def test_metrics__with_a_line_that_is_no_row(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "loss": null}}\n{line}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl"):
        read_rows(tmp_path / "metrics.jsonl")


def test_environment__too_deep(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="cannot be read"):
        RunFolder(tmp_path).read_environment()


@pytest.mark.parametrize(
    "change",
    [
        {"bev_channels": 20_000},
        {"image_channels": 2**40},
        {"bev_channels": 2**70},
        {"backbone": "resnet200d"},
    ],
)
def test_card__of_another_student(tmp_path: Path, change: dict[str, Any]) -> None:
    """Refused before memory is spent on the student that it describes."""
    run_readers.model_card(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "student": {**card["student"], **change}}))
    assert read_card(tmp_path).student.model_dump().items() >= change.items()
    with pytest.raises(OccFeatError, match=r"do not fit|a student that cannot be built"):
        load_model(tmp_path)


def test_model_card__with_an_impossible_grid(tmp_path: Path) -> None:
    run_readers.model_card(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    grid = {**card["grid"], "cell_m": [0.3, 1, 1]}
    (tmp_path / "model.json").write_text(json.dumps({**card, "grid": grid}))
    with pytest.raises(RunError, match=r"model\.json is damaged(.|\n)*axis x: expected a whole number"):
        read_card(tmp_path)


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "x" * 5000, ""])
def test_rig_file__with_an_impossible_name(tmp_path: Path, name: str) -> None:
    reader = run_readers.rig_file(tmp_path)
    path = reader.targets[0].path
    rig = json.loads(path.read_text())
    rig["cameras"][0]["image"] = name
    path.write_text(json.dumps(rig))
    with pytest.raises(OccFeatError):
        reader.read(path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    run_readers.cache(tmp_path)
    return tmp_path / "cache"


@pytest.mark.parametrize("key_frames", [5, 2**62, 10**400])
def test_cache__of_more_key_frames_than_files(cache: Path, key_frames: int) -> None:
    card = json.loads((cache / "cache.json").read_text())
    (cache / "cache.json").write_text(json.dumps({**card, "key_frames": key_frames}))
    with pytest.raises(CacheError, match=r"not finished|damaged"):
        TeacherCache(cache)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("rows", torch.zeros(2, dtype=torch.float32)),
        ("rows", torch.zeros(2, 1, dtype=torch.int64)),
        ("scales", torch.ones(2, 2, 2, 2)),
        ("scales", torch.ones(2, 2, 2, 3, dtype=torch.float64)),
    ],
)
def test_cache__with_a_tensor_of_another_kind(cache: Path, name: str, tensor: torch.Tensor) -> None:
    shard = cache / "shard-00001.safetensors"
    save_file({**load_file(shard), name: tensor}, shard)
    with pytest.raises(CacheError, match="shard-00001"):
        TeacherCache(cache)


def test_cache__with_scales_that_are_not_finite(cache: Path) -> None:
    shard = cache / "shard-00001.safetensors"
    tensors = load_file(shard)
    tensors["scales"][1, 0, 0, 0] = float("nan")
    save_file(tensors, shard)
    opened = TeacherCache(cache)
    assert opened.read(2).scales.isfinite().all()
    with pytest.raises(KeyFrameError, match=r"not finite|non-finite"):
        opened.read(3)

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from occfeat.errors import WeightsError
from occfeat.models.weights.loading import load_checked, read_weights_file


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_load_checked__loads_and_tells(caplog: pytest.LogCaptureFixture) -> None:
    source, target = network(), network()
    with caplog.at_level(logging.INFO, logger="occfeat"):
        assert load_checked(target, source.state_dict(), "student") == 7
    assert "student: loaded 7/7 tensors" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_load_checked__names_what_differs_and_changes_nothing() -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    tensors = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    tensors["0.weight"] = torch.zeros(3, 5)
    tensors["2.extra"] = tensors.pop("1.bias")
    with pytest.raises(WeightsError) as caught:
        load_checked(target, tensors, "student")
    for part in ("student", "missing: 1.bias", "unexpected: 2.extra", "0.weight is (3, 5), wanted (3, 2)"):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "teacher"])
def test_read_weights_file__torch(tmp_path: Path, key: str | None) -> None:
    tensors = network().state_dict()
    torch.save(tensors if key is None else {key: tensors, "epoch": 3}, tmp_path / "weights.pth")
    read = read_weights_file(tmp_path / "weights.pth")
    assert list(read) == list(tensors)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_read_weights_file__safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3)}, tmp_path / "weights.safetensors")
    assert read_weights_file(tmp_path / "weights.safetensors")["a"].tolist() == [0, 1, 2]


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("trap-was-sprung"),)


def test_read_weights_file__refuses_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "more": Trap()}, "weights.pth")
    with pytest.raises(WeightsError, match=r"could run any code(.|\n)*safetensors"):
        read_weights_file(Path("weights.pth"))
    assert not Path("trap-was-sprung").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut short"])
def test_read_weights_file__damaged(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_weights_file(tmp_path / name)


@pytest.mark.parametrize("stored", [{}, {"epoch": 3}, [torch.ones(1)], {"model": {"a": 1}}])
def test_read_weights_file__no_tensors(tmp_path: Path, stored: object) -> None:
    torch.save(stored, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="not a table of tensors"):
        read_weights_file(tmp_path / "weights.pth")


def test_read_weights_file__absent(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights file .* does not exist"):
        read_weights_file(tmp_path / "weights.pth")

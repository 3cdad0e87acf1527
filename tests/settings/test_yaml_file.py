"""Settings files: plain values, quickly, or an error that names the file."""

import time
from pathlib import Path

import pytest

from occfeat.errors import SettingsError
from occfeat.settings.yaml_file import MAX_BYTES, read_yaml
from tests.bad_input.fuzzing.mutation import BOMB


def test_read__plain_values(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {epochs: 3, learning_rate: 1.0e-3}\nview: {cameras: [CAM_FRONT]}\nsplit: null\n")
    assert read_yaml(path) == {
        "optim": {"epochs": 3, "learning_rate": 1e-3},
        "view": {"cameras": ["CAM_FRONT"]},
        "split": None,
    }


@pytest.mark.parametrize(
    "content",
    [
        BOMB + "split: *a11",
        "&a [*a]",
        "split: 2001-99-99",
        "split: !!timestamp x",
        "split: !!python/object/apply:os.system [id]",
        "epochs: " + "9" * 5000,
        "epochs: 0x" + "f" * 5000,
        "epochs: " + "[" * 3000,
        "? {a: 1}\n: 2",
        "#" * (MAX_BYTES + 1),
        "split: '",
        "view: {sweeps: 1, sweeps: 2}",
        "epochs: 010",
        "split: 1:30",
        "learning_rate: 1:30.5",
    ],
    ids=[
        "aliases",
        "itself",
        "date",
        "time",
        "code",
        "digits",
        "hex",
        "deep",
        "key",
        "large",
        "cut",
        "twice",
        "octal",
        "sexagesimal",
        "sexagesimal float",
    ],
)
def test_read__refuses_at_once(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    started = time.process_time()
    with pytest.raises(SettingsError, match=r"mine\.yaml"):
        read_yaml(tmp_path / "mine.yaml")
    assert time.process_time() - started < 5


def test_read__refuses_other_bytes_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"split: \xff")
    for name, said in (("mine.yaml", "be read"), ("nowhere.yaml", "not exist"), (".", "be read")):
        with pytest.raises(SettingsError, match=said):
            read_yaml(tmp_path / name)

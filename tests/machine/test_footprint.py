"""Seconds and memory of a program, also of one that was interrupted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from occfeat.errors import RunError
from occfeat.machine import footprint as footprint_module
from occfeat.machine.footprint import Footprint


def test_stage__adds_up_over_interruptions(tmp_path: Path) -> None:
    file = tmp_path / "footprint.json"
    with pytest.raises(KeyboardInterrupt):
        _stop_in_the_middle(file)
    with Footprint(file) as second, second.stage("learn"):
        time.sleep(0.3)
    seconds = json.loads(file.read_text())["seconds"]["learn"]
    assert 0.6 <= seconds < 5


def _stop_in_the_middle(file: Path) -> None:
    with Footprint(file) as footprint, footprint.stage("learn"):
        time.sleep(0.3)
        raise KeyboardInterrupt


def test_memory__counts_what_the_program_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint_module, "INTERVAL_S", 0.1)
    code = "import time; held = bytearray(300_000_000); time.sleep(3)"
    with Footprint(tmp_path / "footprint.json") as footprint:
        time.sleep(0.5)
        before = footprint.peak_memory_mb
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 250 < footprint.peak_memory_mb - before < 1000


def test_file__damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "footprint.json").write_text('{"seconds": 3}')
    with pytest.raises(RunError, match=r"footprint\.json is damaged"):
        Footprint(tmp_path / "footprint.json")

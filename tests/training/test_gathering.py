"""Texts of all processes reach all of them, whatever their number and length."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lightning_fabric import Fabric

from occfeat.training.gathering import gather_texts

TWO_PROCESSES = """
import json
from pathlib import Path
from lightning_fabric import Fabric
from occfeat.training.gathering import gather_texts

fabric = Fabric(accelerator="cpu", devices=2)
fabric.launch()
mine = [{"b", "a", "\u00e4"}, set()][fabric.global_rank]
Path(__file__).with_name(f"{fabric.global_rank}.json").write_text(json.dumps(gather_texts(mine, fabric)))
"""


@pytest.mark.parametrize("texts", [set(), {"b", "a"}])
def test_gather__of_one_process(texts: set[str]) -> None:
    assert gather_texts(texts, Fabric(accelerator="cpu", devices=1)) == [sorted(texts)]


@pytest.mark.slow
def test_gather__of_two_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(TWO_PROCESSES)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [["a", "b", "ä"], []]

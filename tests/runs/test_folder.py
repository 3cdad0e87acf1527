"""One class knows the names of the files in a run folder, and says what a folder is."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from occfeat.errors import RunError
from occfeat.runs import folder as folder_module
from occfeat.runs.folder import ANALYSIS, RESULTS, ROBUSTNESS, ROBUSTNESS_TABLES, RunFolder

ROOT = Path(__file__).parents[2]
HOME = Path(folder_module.__file__)
SOURCES = sorted(path for path in (ROOT / "src").rglob("*.py") if path != HOME)
PLAIN = RunFolder(Path("run"))
FILES = {
    *(PLAIN.settings, PLAIN.environment, PLAIN.log, PLAIN.metrics, PLAIN.checkpoint, PLAIN.weights),
    *(PLAIN.card, PLAIN.footprint, PLAIN.label_tokens),
}
NAMES = {file.name for file in FILES} | {RESULTS, ROBUSTNESS, ROBUSTNESS_TABLES, ANALYSIS}
PREFIXES = {getattr(PLAIN, name)("").name for name in ("evaluation", "robustness", "analysis")}
FOLDERS = {PLAIN.pictures.name, PLAIN.checkpoint.parent.name}


def strings(tree: ast.AST) -> Iterator[str]:
    """Texts in code, without docstrings."""
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def parts(tree: ast.AST) -> Iterator[str]:
    """Texts that are joined to a path with `/`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield from (side.value for side in (node.left, node.right) if isinstance(side, ast.Constant))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names__are_in_no_other_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {text for text in strings(tree) if any(name in text for name in NAMES)}
    found |= {text for text in strings(tree) if text.startswith(tuple(PREFIXES))}
    found |= {text for text in parts(tree) if text in FOLDERS}
    assert found == set()


@pytest.mark.parametrize("there", [True, False])
def test_of__takes_the_folder_and_files_in_it(tmp_path: Path, there: bool) -> None:
    folder = RunFolder(tmp_path / "run")
    if there:
        folder.path.mkdir()
        folder.weights.write_bytes(b"")
        folder.card.write_text("{}")
        assert RunFolder.of(folder.card) == folder
    assert RunFolder.of(folder.path) == folder
    assert RunFolder.of(folder.weights) == folder


def test_results__are_found_by_kind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for place, name in (
        (folder.evaluation("val"), RESULTS),
        (folder.robustness("val"), RESULTS),
        (folder.robustness("val"), ROBUSTNESS),
        (folder.analysis("val"), ANALYSIS),
        (tmp_path / "mine", ANALYSIS),
    ):
        place.mkdir(exist_ok=True)
        (place / name).write_text("{}")
    assert folder.evaluations() == [folder.evaluation("val") / RESULTS]
    assert folder.robustness_results() == [folder.robustness("val") / ROBUSTNESS]
    assert folder.analyses() == [folder.analysis("val") / ANALYSIS, tmp_path / "mine" / ANALYSIS]


@pytest.mark.parametrize("command", ["pretrain", "finetune", "world", None])
def test_resumable_command__is_one_that_trains(tmp_path: Path, command: str | None) -> None:
    folder = RunFolder(tmp_path)
    assert folder.resumable_command() is None
    folder.environment.write_text(json.dumps({"command": command}))
    assert folder.resumable_command() is None
    folder.settings.write_text("{}")
    assert folder.resumable_command() == (command if command in ("pretrain", "finetune") else None)
    folder.environment.write_text("[]")
    assert folder.resumable_command() is None
    with pytest.raises(RunError, match="does not hold a JSON object"):
        folder.read_environment()

"""Conventions of the code that no linter knows: sizes, safety, docstrings, declared imports."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import occfeat

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "occfeat"
SOURCES = sorted((ROOT / "src").rglob("*.py"))
CODE = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "docs", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)
MAX_LINES, MAX_FUNCTION_LINES, MAX_ENTRIES = 500, 60, 16
PRINTING = {PACKAGE / "cli.py"}
USED_EXTRAS = (
    *(
        "demo",
        "analysis",
        "report",
        "world",
        "export",
        "tensorboard",
        "viz",
        "wandb",
        "mlflow",
        "ros",
        "slam",
    ),
)
FORBIDDEN_IMPORTS = {"dill", "cloudpickle", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {"eval", "exec", "print"}
NOT_VERBS = frozenset(
    {"A", "All", "An", "Any", "Each", "Every", "How", "It", "Its", "No", "One", "Several", "Some", "Such"}
    | {"That", "The", "These", "This", "What", "Where", "Whether", "Which", "Who", "Why"}
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_files_and_functions__are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(ast.parse(text))}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sources__do_nothing_unsafe_or_hidden(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert {name.split(".")[0] for name in imports(tree)} & FORBIDDEN_IMPORTS == set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert not called.startswith("pickle."), "only the name of its error may be used"
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        assert called not in FORBIDDEN_CALLS or (called == "print" and path in PRINTING), called
        assert called != "torch.load" or given.get("weights_only") == "True"
        assert called not in ("np.load", "numpy.load") or given.get("allow_pickle", "False") == "False"
        assert called != "logging.basicConfig" or path in PRINTING
        assert given.get("strict") != "False" or "load_state_dict" not in called


TEXT_CALLS = {"read_text": 1, "write_text": 2}
"""Calls that read or write text, and which of their arguments may be the encoding, counted from 1."""


def without_encoding(node: ast.Call) -> bool:
    """Whether a call opens a text file in whatever encoding the user's locale has."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if any(keyword.arg == "encoding" for keyword in node.keywords):
        return False
    if name in TEXT_CALLS:
        return len(node.args) < TEXT_CALLS[name]
    if name not in ("open", "fdopen"):
        return False
    modes = {one.value for one in node.args[:2] if isinstance(one, ast.Constant)}
    return (name == "open" == ast.unparse(node.func) and not modes) or any(
        set(mode) <= set("rwaxt+") for mode in modes if isinstance(mode, str) and mode
    )


@pytest.mark.parametrize(
    "path", [path for path in CODE if not path.is_relative_to(ROOT / "tests")], ids=name_of
)
def test_text_files__have_an_encoding(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [one.lineno for one in ast.walk(tree) if isinstance(one, ast.Call) and without_encoding(one)] == []


def test_without_encoding__knows_text_from_bytes() -> None:
    def judged(code: str) -> bool:
        (call,) = (one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call))
        return without_encoding(call)

    wrong = (
        "f.read_text()",
        "f.write_text(t)",
        "open(f)",
        "f.open('w')",
        "open(f, 'a')",
        "os.fdopen(h, 'w')",
    )
    assert all(map(judged, wrong))
    right = ("f.read_text('utf-8')", "f.write_text(t, encoding='utf-8')", "f.open('rb')", "open(f, 'wb')")
    assert not any(map(judged, (*right, "reader.open()", "os.fdopen(h, 'rb')")))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_sources__have_no_asserts_and_no_shell(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), node.lineno
        assert not (isinstance(node, ast.keyword) and node.arg == "shell")


@pytest.mark.parametrize(
    "path", [path for path in CODE if path.relative_to(ROOT).parts[0] not in ("tests", "docs")], ids=name_of
)
def test_functions__have_a_docstring_that_begins_with_a_verb(path: Path) -> None:
    wrong = []
    for node in functions(ast.parse(path.read_text(encoding="utf-8"))):
        if node.name.startswith("__") and node.name.endswith("__"):
            continue
        first = (ast.get_docstring(node) or "The").split()[0].strip(",.;:")
        is_property = any("property" in ast.unparse(one) for one in node.decorator_list)
        if ast.get_docstring(node) is None or (first in NOT_VERBS and not is_property):
            wrong.append(f"line {node.lineno}: {node.name}")
    assert wrong == []


def test_imports__are_all_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {
        re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
        for line in (*project["dependencies"], *(line for name in USED_EXTRAS for line in extras[name]))
    }
    packages = packages_distributions()
    roots = {
        name.split(".")[0]
        for path in SOURCES
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
    }
    for root in roots - sys.stdlib_module_names - {"occfeat", "streetworld"}:
        # Several packages may bring one module: mlflow is also in mlflow-skinny.
        brought_by = {package.lower().replace("_", "-") for package in packages.get(root, [root])}
        assert brought_by & declared, root


def test_lowest_versions__are_known_for_all_that_a_user_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = runpy.run_path(str(ROOT / "requirements" / "lowest.py"))["lowest"](project)
    extras = project["optional-dependencies"]
    needed = (*project["dependencies"], *(line for name in USED_EXTRAS for line in extras[name]))
    assert {re.split(r"[^\w.-]", line)[0] for line in needed} <= lowest.keys()
    assert lowest["torch"] == "2.9"
    assert lowest["rosbags"] == "0.11.9"


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in CODE if path.relative_to(ROOT).parts[0] not in ("tests", "docs")}),
    ids=name_of,
)
def test_folders__hold_few_entries(folder: Path) -> None:
    shown = [one.name for one in folder.iterdir() if not one.name.startswith("__") and one.suffix != ".typed"]
    assert len(shown) <= MAX_ENTRIES, sorted(shown)


def test_api__is_not_hidden_by_packages_of_the_same_name() -> None:
    # Once a subpackage is imported, it is an attribute of the package.
    assert set(occfeat.__all__) & {path.stem for path in PACKAGE.iterdir()} == set()


@pytest.mark.parametrize("name", occfeat.__all__)
def test_api__has_every_name_it_lists(name: str) -> None:
    found = getattr(occfeat, name)
    assert found.__name__ == name
    assert found.__doc__


def test_names__say_what_is_inside() -> None:
    vague = {"utils", "util", "common", "base", "helpers", "misc"}
    assert [name_of(path) for path in (ROOT / "src").rglob("*") if path.stem in vague] == []


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_sources__are_finished(path: Path) -> None:
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"))
    found = re.findall(rf"\b(?:{words})\b", path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    "module",
    [
        "occfeat",
        "occfeat.settings.sections",
        "occfeat.settings.recipes",
        "occfeat.api",
        "occfeat.cli",
        "occfeat.runs.card",
        "occfeat.runs.output",
    ],
)
def test_import__needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

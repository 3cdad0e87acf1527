"""The order of the packages: imports point down, and no two packages import each other."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
# Each may import from those before it.
ORDER = (
    "occfeat.errors",
    "occfeat.machine",
    "occfeat.settings",
    "occfeat.geometry",
    "occfeat.data",
    "occfeat.models",
    "occfeat.runs",
    "occfeat.training",
    "occfeat.teacher",
    "occfeat.segmentation",
    "occfeat.release",
    "occfeat.pretraining",
    "occfeat.report",
    "streetworld",
    "occfeat.commands",
    "occfeat.api",
    "occfeat.cli",
    "occfeat.__main__",
    "occfeat",
)


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SRC.rglob("*.py"))}


def imported_modules(path: Path) -> Iterator[str]:
    """Modules of this project that a file imports, also inside functions and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in full)


IMPORTS = {name: set(imported_modules(path)) - {name} for name, path in MODULES.items()}


def place_of(name: str) -> int:
    """Number of the longest entry of the order that a module belongs to."""
    fitting = [one for one in ORDER if name == one or (one != "occfeat" and name.startswith(f"{one}."))]
    assert fitting, f"{name} has no place in ORDER"
    return ORDER.index(max(fitting, key=len))


@pytest.mark.parametrize("name", MODULES)
def test_imports__point_down(name: str) -> None:
    assert {one for one in IMPORTS[name] if place_of(one) > place_of(name)} == set()


KNOW_NUSCENES = ("occfeat.data.formats.nuscenes", "occfeat.data.formats.sources")
"""The format itself, and the list of the known data sources."""
WRITER = "occfeat.data.formats.nuscenes.writer"
"""Anybody may write nuScenes' format; only the data source reads it."""


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(KNOW_NUSCENES)])
def test_nuscenes__is_read_by_its_own_package_alone(name: str) -> None:
    known = {one for one in IMPORTS[name] if one.startswith("occfeat.data.formats.nuscenes")}
    assert {one for one in known if not one.startswith(WRITER)} == set()


PACKAGES = {name.rpartition(".")[0] for name in MODULES if "." in name}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages__do_not_import_each_other(package: str) -> None:
    depth = package.count(".") + 1
    inside = {name: name.split(".")[depth] for name in MODULES if name.startswith(f"{package}.")}
    graph: dict[str, set[str]] = {}
    for name, child in inside.items():
        others = {inside[one] for one in IMPORTS[name] if one in inside}
        graph.setdefault(child, set()).update(others - {child})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' <- '.join(error.args[1])}")


STREETWORLD_MAY_IMPORT = (
    "occfeat.data.formats.nuscenes.writer",
    "occfeat.errors",
    "occfeat.geometry.lens",
    "occfeat.machine",
    "occfeat.settings.strict",
)


def test_streetworld__knows_of_occfeat_only_what_it_shares() -> None:
    used = {one for name in IMPORTS if name.startswith("streetworld") for one in IMPORTS[name]}
    foreign = {one for one in used if one.startswith("occfeat")}
    assert {one for one in foreign if not one.startswith(STREETWORLD_MAY_IMPORT)} == set()
    assert any(one.startswith("occfeat.data.formats.nuscenes.writer") for one in foreign)

"""What README and docs show is run, parsed or looked up, so that it cannot go stale.

A Python block runs in a folder of its own, after the blocks before it on the same page, with a small data set
in place of `/data/nuscenes`, small networks in place of the recipe `cpu-small`, and a rig's `images`,
`intrinsics` and `ego_from_camera`. `<!-- syntax only: why -->` before a block keeps it from running. Lines of
shell blocks that call `occfeat` are parsed by the real command line; nothing is run.
"""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat import cli
from occfeat.data.source.tables import BOXES, CAMERAS, SWEEPS
from occfeat.settings import sections as config
from occfeat.settings.recipes import RECIPES, find_recipe
from occfeat.settings.students import SimpleBevConfig
from tests.support.nuscenes_folder import build_nuscenes_folder

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(<!-- syntax only: [^\n]+ -->\n)?```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[tuple[int, bool, str]]:
    """Line number, whether it may run, and text of each fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if found[2] == language:
            yield text[: found.start(3)].count("\n") + 1, found[1] is None, found[3]


def calls() -> list[Any]:
    """Every line of a shell block that calls `occfeat`, continued lines joined."""
    return [
        pytest.param(line.split(" #")[0], id=f"{name_of(page)}:{line[:60]}")
        for page in PAGES
        for _, _, text in blocks(page, "bash")
        for line in re.sub(r"\\\n\s*", " ", text).splitlines()
        if re.match(r"(\.venv/bin/)?occfeat\b", line)
    ]


@pytest.fixture
def _small_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `cpu-small` that takes seconds and needs no weights of packages."""
    weights = tmp_path / "teacher.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False, num_classes=0).state_dict(), weights)
    optim = config.OptimConfig(epochs=1, batch_size=2)
    small = replace(
        RECIPES["cpu-small"](),
        view=config.ViewConfig(image_size=(48, 80)),
        grid=config.GridConfig(lower_m=(-16, -16, -1), upper_m=(16, 16, 3), cell_m=(0.5, 0.5, 1)),
        student=SimpleBevConfig(
            backbone="test_efficientnet", backbone_weights="none", image_channels=8, bev_channels=8
        ),
        teacher=config.TeacherConfig(name="test_vit", weights=str(weights), image_size=(64, 96)),
        head=config.HeadConfig(channels=8),
        pretrain_optim=optim,
        finetune_optim=optim,
    )
    monkeypatch.setitem(RECIPES, "cpu-small", lambda: small)


@pytest.mark.usefixtures("_small_recipe")
@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=name_of)
def test_python_blocks__run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = build_nuscenes_folder(tmp_path / "nuscenes")
    front = torch.tensor([[0.0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    names: dict[str, object] = {
        "images": torch.zeros(2, 3, 90, 160, dtype=torch.uint8),
        "intrinsics": torch.tensor([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]]).repeat(2, 1, 1),
        "ego_from_camera": front.repeat(2, 1, 1),
    }
    for line, runs, text in blocks(page, "python"):
        text = text.replace("/data/nuscenes", str(data))
        code = compile("\n" * (line - 1) + text, str(page), "exec")
        if runs:
            exec(code, names)


@pytest.mark.parametrize("line", calls())
def test_shell_lines__are_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *words = shlex.split(line)
    if words[0] == "--help" or "--help" in words:
        return
    command = cli.COMMANDS[words[0]]
    read_layers: Callable[..., dict[str, Any]] = cli.base_layer
    # The run a line starts from does not exist here.
    monkeypatch.setattr(cli, "base_layer", lambda name, *, above, **layers: read_layers(name, **layers))
    words, name = words[1:], words[0]
    if command.positional and words and not words[0].startswith("-"):
        words = [f"--{command.positional}", *words]
    layers, flags = cli._layer_flags(command).parse_known_args(words)
    assert isinstance(layers, argparse.Namespace)
    if layers.resume is not None:
        assert not flags
        return
    assert isinstance(cli._parse(name, command, layers, flags), command.settings)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names__of_recipes_and_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"""recipe[ =]["']?((?:paper|cpu)-[\w+-]+)""", text):
        assert find_recipe(name)
    commands = re.findall(r"`occfeat (\w+)", text)
    assert set(commands) <= set(cli.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links__lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r"```\{image\} (\S+)", text)
    generated = {"_generated"}
    missing = [
        link
        for link in links
        if not link.startswith(("http", "mailto"))
        and Path(link).parts[0] not in generated
        and not (page.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_and_scripts__that_are_named_exist(page: Path) -> None:
    named = re.findall(r"`([a-z_]+/[a-z_/0-9]+\.(?:py|sh))\b", page.read_text(encoding="utf-8"))
    roots = (ROOT, ROOT / "src" / "occfeat")
    assert [name for name in named if not any((root / name).is_file() for root in roots)] == []


def test_pages__are_all_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w-]+)$", index, re.MULTILINE))
    assert {page.stem for page in PAGES if page.parent == ROOT / "docs"} - {"index"} <= listed


def script(name: str) -> ModuleType:
    """Import a script of the documentation, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme__is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= 10_000


def test_readme__repeats_the_results_as_they_are() -> None:
    """Every mean with its interval of the street world is one of the generated table."""
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md"))
    rows = re.findall(
        r"^\| [^|]+ \| (?:street|the same)[^|]* \| ([^|]+) \| ([^|]+) \|$", readme, re.MULTILINE
    )
    assert len(rows) == 3
    table = page[page.index("first_three: begin") : page.index("first_three: end")]
    for vehicle, layers in rows:
        assert re.search(rf"\| {re.escape(vehicle)} \| [^|]+ \| {re.escape(layers)} \|", table)


def test_reading_list__is_short_and_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. `([^`]+)`: ", text[text.index("reading list: begin") :], re.MULTILINE)
    assert [int(number) for number, _ in listed] == list(range(1, len(listed) + 1))
    assert 20 < len(listed) <= 35
    assert [file for _, file in listed if not (ROOT / file).is_file()] == []
    assert len({file for _, file in listed}) == len(listed)


def test_architecture__names_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| package | contents |") : text.index("[Files](files.md)")]
    packages = {path.parent.name for path in (ROOT / "src").glob("occfeat/*/__init__.py")} | {"streetworld"}
    assert packages <= set(re.findall(r"`(\w+)`", table))


def test_neutral_tables__columns_are_those_of_the_schemas() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    part = text[text.index("### The neutral tables") : text.index("### Making it known")]
    rows = re.findall(r"^\| `([A-Z]+)`[^|]*\|([^|]+)\|$", part, re.MULTILINE)
    listed = {name: {"row", *re.findall(r"`(\w+)`", columns)} for name, columns in rows}
    schemas = {"CAMERAS": CAMERAS, "SWEEPS": SWEEPS, "BOXES": BOXES}
    assert listed == {name: set(schema.names) for name, schema in schemas.items()}


def test_data_flow__names_packages() -> None:
    boxes = script("draw_architecture").BOXES.values()
    missing = [
        box.package
        for box in boxes
        if not (ROOT / "src").joinpath(*box.package.split("."), "__init__.py").is_file()
    ]
    assert missing == []


def test_file_tree__has_every_module_with_its_purpose() -> None:
    tree = script("file_tree").tree()
    modules = [path.name for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"]
    listed = re.findall(r"^ +(\w+\.py) +(.*)$", tree, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(modules)
    assert [name for name, purpose in listed if len(purpose) < 10] == []


def test_pictures__are_small() -> None:
    pictures = [*(ROOT / "docs" / "pictures").iterdir()]
    assert {one.name: one.stat().st_size for one in pictures if one.stat().st_size > 310_000} == {}

"""What README and docs show is run, parsed or looked up, so that it cannot go stale.

A Python block runs in a folder of its own, after the blocks before it on the same page, with a small data set
in place of `/data/nuscenes`, small networks in place of the recipe `cpu-small`, and a rig's `images`,
`intrinsics` and `ego_from_camera`. `<!-- syntax only: why -->` before a block keeps it from running. Lines of
shell blocks that call `occfeat` are parsed by the real command line; nothing is run.
"""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat import cli
from occfeat.settings import sections as config
from occfeat.settings.recipes import RECIPES, find_recipe
from occfeat.settings.students import SimpleBevConfig
from tests.nuscenes_folder import build_nuscenes_folder

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


def test_pages__are_all_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w-]+)$", index, re.MULTILINE))
    assert {page.stem for page in PAGES if page.parent.name == "docs"} - {"index"} <= listed

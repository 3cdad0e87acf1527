"""Layers of settings below the flags: recipe, run to start from, settings file. Imports no torch."""

from pathlib import Path

from occfeat.runs.card import read_card
from occfeat.runs.folder import RunFolder
from occfeat.settings.layers import Layer, merge, read_layer
from occfeat.settings.recipes import find_recipe
from occfeat.settings.strict import Strict, absolute


def base_layer(
    kind: type[Strict],
    *,
    recipe: str | None = None,
    config: Path | None = None,
    above: Layer | None = None,
) -> Layer:
    """Return the settings below the flags: recipe, run to start from and settings file, merged in this order.

    A run determines student, grid and images; a recipe determines everything else.

    Args:
        kind: Settings of the command.
        recipe: Name of a recipe.
        config: Settings file, which may name the run to start from as well.
        above: Flags or keyword arguments, whose `start` counts before that of the file.
    """
    layer: Layer = {}
    if recipe is not None:
        layer = merge(layer, dict(find_recipe(recipe).sections(kind)))
    given = {} if config is None else read_layer(config)
    start = {**given, **(above or {})}.get("start")
    if "start" in kind.model_fields and isinstance(start, str | Path):  # all else is refused later
        card = read_card(RunFolder.of(absolute(Path(start))).path)
        layer |= {"student": card.student.model_dump(), "grid": card.grid.model_dump()}
        layer |= {"view": card.view.model_dump()}
    return merge(layer, given)

"""What lies below the flags of a command: recipe, run to start from, settings file.

This module imports no torch.
"""

from pathlib import Path

from occfeat.runs.card import read_card, run_folder
from occfeat.settings.layers import Layer, merge, read_layer
from occfeat.settings.recipes import find_recipe
from occfeat.settings.strict import absolute


def base_layer(
    command: str,
    *,
    recipe: str | None = None,
    config: Path | None = None,
    above: Layer | None = None,
) -> Layer:
    """What lies below the flags: the recipe, above it the run to start from, then the settings file.

    Of a run come student, grid and images; a recipe named with it says how to learn.

    Args:
        command: The command the settings are for.
        recipe: Name of a recipe.
        config: Settings file, which may name the run to start from, too.
        above: Flags or keyword arguments; those that name another run to start from, or none, count.
    """
    layer: Layer = {}
    if recipe is not None:
        layer = merge(layer, dict(find_recipe(recipe).sections(command)))
    given = {} if config is None else read_layer(config)
    start = {**given, **(above or {})}.get("start")
    if command == "finetune" and isinstance(start, str | Path):  # all else is refused with the other settings
        card = read_card(run_folder(absolute(Path(start))))
        layer |= {"student": card.student.model_dump(), "grid": card.grid.model_dump()}
        layer |= {"view": card.view.model_dump()}
    return merge(layer, given)

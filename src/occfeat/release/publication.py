"""The README of published weights: what they are, and how they were trained.

It is generated from the files of the run folder. Paths are cut to their last part.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from occfeat.errors import RunError
from occfeat.runs.card import ModelCard
from occfeat.runs.folder import RunFolder
from occfeat.settings.yaml_file import read_yaml
from occfeat.training.overlap import THRESHOLD

README = "README.md"
"""Name of the file in a published folder."""

LICENCE = """The code that reads these weights is Apache-2.0. The weights are bound by what they were made
from: nuScenes is for non-commercial use (CC BY-NC-SA 4.0), and pretrained backbones and teachers have
licences of their own. Whoever publishes the weights states their licence in the header of this file."""


def describe(folder: Path, card: ModelCard) -> str:
    """Return the README of a run folder or of a saved model, in Markdown."""
    saved = folder / README
    if saved.is_file() and not RunFolder(folder).settings.is_file():
        return _without_header(saved.read_text(encoding="utf-8"))
    parts = [_network(card), _metrics(folder), _training(folder), f"## Licence\n\n{LICENCE}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _without_header(text: str) -> str:
    """Return a text without its header of metadata."""
    parts = text.split("---\n", 2)
    return parts[2].lstrip("\n") if text.startswith("---\n") and len(parts) == 3 else text


def _network(card: ModelCard) -> str:
    """Return title, use and grid of the network."""
    height, width = card.view.image_size
    lower, upper, cell = card.grid.lower_m, card.grid.upper_m, card.grid.cell_m
    return f"""# {", ".join(card.classes)} in bird's-eye view, from cameras

A network of kind `{card.student.kind}`, trained with `occfeat`, an open implementation of
[OccFeat](https://arxiv.org/abs/2404.14027). It takes the images of any number of calibrated cameras and gives
the probability of each cell of a grid around the car to hold {", ".join(card.classes)}.

```python
import occfeat

model = occfeat.ShippedModel.from_pretrained("this folder or repository")
probability = model.predict(images, intrinsics, ego_from_camera)["{card.classes[0]}"]
```

Images are RGB, `uint8`, of any size, and are resized to {height} x {width}. The grid reaches from {lower} m
to {upper} m in the ego frame (x forward, y left, z up), in cells of {cell} m."""


def _metrics(folder: Path) -> str:
    """Return a table of every evaluation in the folder."""
    rows = [row for file in RunFolder(folder).evaluations() for row in _rows(file)]
    if not rows:
        return ""
    head = ["| split | key frames | metric | IoU |", "|---|---|---|---|"]
    return "\n".join(["## Metrics", "", f"Pooled over the split, threshold {THRESHOLD}.", "", *head, *rows])


def _rows(file: Path) -> Iterator[str]:
    """Yield the rows of one evaluation."""
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        split, key_frames, metrics = results["split"], results["key_frames"], dict(results["metrics"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "Evaluate again, or remove the file."
        raise RunError(f"{file} does not contain the metrics of an evaluation: {error}", hint=hint) from error
    for name, value in metrics.items():
        yield f"| {split} | {key_frames} | `{name}` | {'none' if value is None else f'{value:.4f}'} |"


def _training(folder: Path) -> str:
    """Return the settings and environments of the run and of the run it started from."""
    if not RunFolder(folder).settings.is_file():
        return ""
    settings = _settings(folder)
    parts = ["## How it was trained", f"```yaml\n{_as_yaml(settings)}```", _where(folder)]
    start = settings.get("start")
    if start is not None:
        before = RunFolder.of(Path(start)).path
        parts.append(f"It started from the pretraining run `{before.name}`.")
        if RunFolder(before).settings.is_file():
            parts.append(f"```yaml\n{_as_yaml(_settings(before))}```")
    return "\n\n".join(parts)


def _settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a run."""
    file = RunFolder(folder).settings
    settings = read_yaml(file)
    if not isinstance(settings, dict):
        raise RunError(f"{file} does not contain settings.", hint="Restore it from a copy.")
    return settings


def _as_yaml(settings: dict[str, Any]) -> str:
    """Return settings as YAML."""
    return yaml.safe_dump(_shortened(settings), sort_keys=False)


def _shortened(value: Any) -> Any:
    """Return the same settings with absolute paths cut to their last part, for privacy."""
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _where(folder: Path) -> str:
    """Return start time, device and versions of a run."""
    environment = RunFolder(folder).read_environment()
    versions = ", ".join(f"{name} {number}" for name, number in environment.get("versions", {}).items())
    commit, device = environment.get("commit") or "unknown", environment.get("gpu") or "the processor"
    return f"Started {environment.get('started')} on {device}; {versions}; commit {commit}."

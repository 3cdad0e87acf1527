"""`occfeat predict`: the BEV of your own images, or of key frames of a data set."""

import codecs
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from pydantic import Field, PlainValidator, ValidationError
from torch import Tensor, nn

from occfeat.commands.outcome import Outcome
from occfeat.data.dataset import KeyFrames
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.errors import KeyFrameError, LensError, SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.geometry.lens import PINHOLE, Lens, parse_lens
from occfeat.release.model import BevModel
from occfeat.release.shipped import load_model
from occfeat.report.pictures.plots import draw_prediction
from occfeat.runs.card import read_card
from occfeat.runs.folder import RunFolder
from occfeat.runs.output import make_folder, require_empty
from occfeat.settings.commands import PredictConfig
from occfeat.settings.sections import DataConfig, ViewConfig
from occfeat.settings.strict import Strict
from occfeat.training.device import choose_device

logger = logging.getLogger(__name__)

FIRST_KEY_FRAMES = 10
FIRST_PROBLEMS = 3


def _lens(record: object) -> Lens:
    """Return the lens of a record; raise what pydantic understands."""
    try:
        return parse_lens(record)
    except LensError as error:
        raise ValueError(error.message) from error


class RigCamera(Strict):
    """One camera of a rig file."""

    image: Path
    """Image file, relative to the rig file."""
    intrinsics: list[list[float]] = Field(min_length=3, max_length=3)
    """3 x 3, in pixels of that image."""
    ego_from_camera: list[list[float]] = Field(min_length=4, max_length=4)
    """4 x 4: camera frame (x right, y down, z forward) to ego frame (x forward, y left, z up), metres."""
    name: str = ""
    """Shown in the picture."""
    lens: Annotated[Lens, PlainValidator(_lens)] = PINHOLE
    """Model and coefficients of the lens, which acts before the intrinsics."""


class RigFile(Strict):
    """Your own images with their calibration."""

    cameras: list[RigCamera] = Field(min_length=1)
    """All images, taken at one time."""


@dataclass(frozen=True)
class View:
    """Images of one moment, at any size, with their calibration."""

    name: str
    channels: tuple[str, ...]
    images: tuple[UInt8[Tensor, "3 _ _"], ...]
    intrinsics: Float64[Tensor, "N 3 3"]
    ego_from_camera: Float64[Tensor, "N 4 4"]
    lenses: tuple[Lens, ...]


def predict(config: PredictConfig, student: nn.Module | None = None) -> Outcome:
    """Write probabilities as `NAME_CLASS.npy`, indexed (x forward, y left), and a picture of each.

    Args:
        config: The settings.
        student: The user's module, for a run that trained one.

    Raises:
        OccFeatError: The run, the images, the data or the output folder cannot be used.
    """
    if (config.rig is None) == (config.data is None):
        got = "neither" if config.rig is None else "both"
        hint = "Give --rig for images of your own, or --data for key frames of a data set."
        raise SettingsError(f"Expected either --rig or --data, got {got}.", hint=hint)
    run = RunFolder.of(config.run).path
    require_empty(config.out, hint="Choose another --out.")
    model = load_model(run, choose_device(config.device), student)
    count = 0
    for view in _views(config, run):
        make_folder(config.out)
        _write(config.out, view, model)
        count += 1
    what = f"{count} prediction(s) of {', '.join(model.classes)} on {model.grid.in_words()}"
    return Outcome(f"{what}\n{config.out}")


def _views(config: PredictConfig, run: Path) -> Iterator[View]:
    """Yield the images that are predicted for: of the rig file, or of key frames."""
    if config.rig is not None:
        yield read_rig_file(config.rig)
    elif config.data is not None:
        index = Index.open(DataConfig(root=config.data, version=config.version))
        yield from _key_frame_views(index, config.tokens, run)


def read_rig_file(path: Path) -> View:
    """Read the images and calibration of a rig file.

    Raises:
        SettingsError: The file is missing, not JSON, or does not describe cameras.
        KeyFrameError: An image cannot be read.
    """
    rig = _parse_rig_file(path)
    return View(
        name=path.stem,
        channels=tuple(camera.name or camera.image.stem for camera in rig.cameras),
        images=tuple(_read_rig_image(path, camera) for camera in rig.cameras),
        intrinsics=_matrices(rig, "intrinsics", path),
        ego_from_camera=_matrices(rig, "ego_from_camera", path),
        lenses=tuple(camera.lens for camera in rig.cameras),
    )


def _parse_rig_file(path: Path) -> RigFile:
    """Read a rig file without its images."""
    try:
        return RigFile.model_validate_json(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except FileNotFoundError as error:
        raise SettingsError(f"The rig file {path} does not exist.", hint="Check the path.") from error
    except OSError as error:
        what = f"The rig file {path} cannot be read: {error.strerror or error}."
        raise SettingsError(what, hint="Check the path.") from error
    except ValidationError as error:
        hint = (
            'It holds {"cameras": [{"image": …, "intrinsics": 3x3, "ego_from_camera": 4x4}, …]}; a camera '
            'that is not a pinhole has a "lens", too.'
        )
        problems = error.errors()
        lines = [_problem(one["loc"], one["msg"]) for one in problems[:FIRST_PROBLEMS]]
        if len(problems) > FIRST_PROBLEMS:
            lines.append(f"and {len(problems) - FIRST_PROBLEMS} more")
        raise SettingsError(f"The rig file {path} cannot be used:", first=lines, hint=hint) from error


def _problem(path: tuple[int | str, ...], said: str) -> str:
    """Return one line, such as `cameras.0.image: Field required`."""
    name = ".".join(map(str, path))
    return f"{name}: {said}" if name else said


def _read_rig_image(path: Path, camera: RigCamera) -> UInt8[Tensor, "3 H W"]:
    """Read an image of a rig file."""
    try:
        return read_image(path.absolute().parent / camera.image)
    except KeyFrameError as error:
        raise KeyFrameError(error.message, hint=f"Paths in {path.name} are relative to that file.") from error


def _matrices(
    rig: RigFile, name: Literal["intrinsics", "ego_from_camera"], path: Path
) -> Float64[Tensor, "N s s"]:
    """Return one kind of matrices of all cameras of a rig file."""
    matrices: list[list[list[float]]] = [getattr(camera, name) for camera in rig.cameras]
    for number, rows in enumerate(matrices):
        if any(len(row) != len(rows) for row in rows):
            what = f"cameras.{number}.{name} is not {len(rows)} x {len(rows)}"
            raise SettingsError(f"The rig file {path} cannot be used: {what}.", hint="Mend its rows.")
    return torch.tensor(matrices, dtype=torch.float64)


def _key_frame_views(index: Index, tokens: tuple[str, ...], run: Path) -> Iterator[View]:
    """Yield the key frames of these tokens, or the first ones."""
    card = read_card(run)
    view = with_cameras_of(index, card.view)
    key_frames = KeyFrames(index, view, Contents(), grid=build_grid(card.grid))
    rows = [index.row_of(token) for token in tokens] or list(index.rows("all")[:FIRST_KEY_FRAMES])
    for row in rows:
        sample = key_frames.sample(int(row))
        lens_of = {record.channel: record.lens for record in index.key_frame(int(row)).cameras}
        seen = sample.cameras.present.nonzero().flatten().tolist()
        yield View(
            name=sample.token,
            channels=tuple(key_frames.channels[camera] for camera in seen),
            images=tuple(sample.images[camera] for camera in seen),
            intrinsics=sample.cameras.intrinsics[seen].double(),
            ego_from_camera=sample.cameras.ego_from_camera[seen].double(),
            lenses=tuple(lens_of[key_frames.channels[camera]] for camera in seen),
        )


def with_cameras_of(index: Index, view: ViewConfig) -> ViewConfig:
    """Return a run's view with those of its cameras that a data set has, or all of the set's own."""
    if not (unknown := [name for name in view.cameras if name not in index.channels]):
        return view
    kept = tuple(name for name in view.cameras if name in index.channels)
    shown = ", ".join(kept or index.default_channels)
    what = "%s has no camera %s, which the run was trained on; predicting with %s."
    logger.warning(what, index.root, ", ".join(unknown), shown)
    return view.model_copy(update={"cameras": kept})


def _write(out: Path, view: View, model: BevModel) -> None:
    """Predict and write one view."""
    images, cameras = model.prepare(view.images, view.intrinsics, view.ego_from_camera, view.lenses)
    probabilities = model(images, cameras)[0].cpu()
    for name, probability in zip(model.classes, probabilities, strict=True):
        stem = f"{view.name}_{name}"
        np.save(out / f"{stem}.npy", probability.numpy())
        draw_prediction(
            out / f"{stem}.png",
            images[0].cpu(),
            cameras.of_key_frame(0).to("cpu"),
            view.channels,
            probability,
            model.grid,
            class_name=name,
            title=view.name,
        )

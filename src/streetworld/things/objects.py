"""The list of a scene's objects: what the shader, the LiDAR and the labels need to know of each.

Axes: `O` objects.
"""

from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from streetworld.things.materials import CLASSES
from streetworld.things.shapes import Mesh
from streetworld.things.texture_parameters import (
    ROWS,
    CarParkParameters,
    FacadeParameters,
    PaintParameters,
    RoadParameters,
    SignalParameters,
)
from streetworld.town.towns import Color

TextureParameters = (
    CarParkParameters[Any]
    | FacadeParameters[Any]
    | PaintParameters[Any]
    | RoadParameters[Any]
    | SignalParameters[Any]
)


@dataclass(frozen=True)
class Annotation:
    """What the labels say of an object."""

    category: str
    size_m: tuple[float, float, float]
    """Length, width and height of its box."""
    middle_m: tuple[float, float, float]
    """Middle of its box in the object's own frame."""
    attribute: str | None
    """nuScenes attribute of an object that never moves; movers get theirs from their speed."""
    mesh: Mesh
    """Template of its shape."""
    scale: tuple[float, float, float]
    """Factors of the template along x, y and z."""


@dataclass(frozen=True)
class Appearance:
    """Columns of all objects, for array look-ups by object number."""

    color: Float32[np.ndarray, "3 O"]
    accent: Float32[np.ndarray, "3 O"]
    parameters: Float32[np.ndarray, "12 O"]
    """Read by `texture_parameters.columns`; what they mean depends on the material."""
    class_id: UInt8[np.ndarray, " O"]
    seed: Int32[np.ndarray, " O"]


@dataclass
class ObjectList:
    """Objects of a scene, numbered in the order they were added."""

    _colors: list[Color] = field(default_factory=list)
    _accents: list[Color] = field(default_factory=list)
    _parameters: list[tuple[float, ...]] = field(default_factory=list)
    _classes: list[int] = field(default_factory=list)
    _seeds: list[int] = field(default_factory=list)
    annotations: dict[int, Annotation] = field(default_factory=dict)
    """What is labelled, by object number."""
    poses: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    """(x, y, z, yaw) of annotated objects that stay where they are, in the town's frame."""

    def add(
        self,
        kind: str,
        color: Color = (0.5, 0.5, 0.5),
        accent: Color = (0.5, 0.5, 0.5),
        parameters: TextureParameters | None = None,
        seed: int = 0,
    ) -> int:
        """Add an object of a class of `materials.CLASSES` and return its number."""
        self._colors.append(color)
        self._accents.append(accent)
        numbers = () if parameters is None else astuple(parameters)
        self._parameters.append((*numbers, *[0.0] * (ROWS - len(numbers))))
        self._classes.append(CLASSES.index(kind))
        self._seeds.append(seed)
        return len(self._classes) - 1

    def __len__(self) -> int:
        return len(self._classes)

    def appearance(self) -> Appearance:
        """Return all objects as arrays."""
        return Appearance(
            np.array(self._colors, dtype=np.float32).reshape(-1, 3).T.copy(),
            np.array(self._accents, dtype=np.float32).reshape(-1, 3).T.copy(),
            np.array(self._parameters, dtype=np.float32).reshape(-1, ROWS).T.copy(),
            np.array(self._classes, dtype=np.uint8),
            np.array(self._seeds, dtype=np.int32),
        )

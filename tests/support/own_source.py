"""A made-up data format: one file `drives.json`, PNG images and `.npy` points, with boxes and no maps."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource, Taxonomy
from occfeat.data.source.sweep import Sweep
from occfeat.data.source.tables import BOXES, CAMERAS, SWEEPS, Joined
from occfeat.errors import DatasetError, KeyFrameError


class Drives(DataSource):
    """A folder with one `drives.json`."""

    name = "drives"
    taxonomy = Taxonomy(
        classes={"vehicle": ("auto", "lorry")},
        kinds={"car": ("auto",), "truck": ("lorry",)},
        others=("tree",),
    )
    record = "file of key frame"

    @classmethod
    def versions(cls, root: Path) -> Sequence[str]:
        return [""] if (root / "drives.json").is_file() else []

    def files(self) -> dict[str, Path]:
        return {"drives": self.folder / "drives.json"}

    def splits(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(scenes) for name, scenes in self._read()["splits"].items()}

    def join(self, on_bytes: Callable[[int], object]) -> Joined:
        drives = self._read()
        frames, rig = drives["frames"], drives["rig"]
        channels = tuple(name for name in rig if name != "lidar")
        scenes = tuple(dict.fromkeys(frame["scene"] for frame in frames))
        categories = tuple(dict.fromkeys(box["category"] for frame in frames for box in frame["boxes"]))
        cameras, sweeps, boxes = [], [], []
        for row, frame in enumerate(frames):
            shot = {key: frame[key] for key in ("token", "timestamp_us", "ego_pose")} | {"row": row}
            for number, name in enumerate(channels):
                cameras.append(shot | rig[name] | {"channel": number, "path": f"{name}/{frame['token']}.png"})
            sweeps.append(shot | rig["lidar"] | {"is_key": True, "path": f"lidar/{frame['token']}.npy"})
            for box in frame["boxes"]:
                boxes.append({**box, "row": row, "category": categories.index(box["category"])})
        return Joined(
            tokens=[frame["token"] for frame in frames],
            timestamp_us=np.array([frame["timestamp_us"] for frame in frames]),
            scene=np.array([scenes.index(frame["scene"]) for frame in frames]),
            scenes=scenes,
            places=(Place(),) * len(scenes),
            channels=channels,
            cameras=pa.Table.from_pylist(cameras, schema=CAMERAS),
            sweeps=pa.Table.from_pylist(sweeps, schema=SWEEPS),
            boxes=pa.Table.from_pylist(boxes, schema=BOXES),
            categories=categories,
            hashes=self.hash_files(),
        )

    def read_sweep(self, path: Path) -> Sweep:
        try:
            return Sweep(np.load(path))
        except (OSError, ValueError) as error:
            raise KeyFrameError(f"LiDAR file {path} cannot be read: {error}.") from error

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "drives.json").read_text())
        except ValueError as error:
            raise DatasetError(f"{self.folder / 'drives.json'} is not valid JSON: {error}.") from error


RIG: dict[str, Any] = {
    "front": {"calibration": [1.0, 0.0, 1.5, 0.5, -0.5, 0.5, -0.5]},
    "back": {"calibration": [-1.0, 0.0, 1.5, 0.5, -0.5, -0.5, 0.5]},
    "lidar": {"calibration": [0.0, 0.0, 1.8, 1.0, 0.0, 0.0, 0.0]},
}
SIZE = (48, 80)
POINTS = 500


def build_drives_folder(root: Path, scenes: Sequence[str] = ("north", "south"), key_frames: int = 2) -> Path:
    """Write a data folder and return it: a car drives straight past an auto, a lorry and a tree."""
    random, frames = np.random.default_rng(0), []
    for folder in RIG:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for scene in scenes:
        for number in range(key_frames):
            token, x = f"{scene}-{number}", 5.0 * number
            for name in ("front", "back"):
                coarse = random.integers(0, 256, (6, 10, 3), dtype=np.uint8)
                picture = Image.fromarray(coarse).resize((SIZE[1], SIZE[0]))
                picture.save(root / name / f"{token}.png")
            angle, far_m = random.uniform(0, 2 * math.pi, POINTS), random.uniform(2, 14, POINTS)
            ground = np.stack((far_m * np.cos(angle), far_m * np.sin(angle), np.full(POINTS, -1.8)), axis=1)
            np.save(root / "lidar" / f"{token}.npy", ground.astype(np.float32))
            boxes = [
                {
                    "token": f"{token}-{category}",
                    "category": category,
                    "visibility": 0,
                    "lidar_points": 0,  # all lie on the ground
                    "size_m": [4.0, 2.0, 1.5],
                    "pose": [8.0 + 6 * i, 4.0, 0.75, 1.0, 0.0, 0.0, 0.0],
                }
                for i, category in enumerate(("auto", "lorry", "tree"))
            ]
            pose = [x, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
            frames.append(
                {"token": token, "scene": scene, "timestamp_us": number * 500_000, "ego_pose": pose}
                | {"boxes": boxes}
            )
    intrinsics = [60.0, 0.0, SIZE[1] / 2, 0.0, 60.0, SIZE[0] / 2, 0.0, 0.0, 1.0]
    camera = {"height": SIZE[0], "width": SIZE[1], "intrinsics": intrinsics}
    rig = {name: sensor | (camera if name != "lidar" else {}) for name, sensor in RIG.items()}
    splits = {"learn": [scenes[0]], "judge": list(scenes[1:])}
    (root / "drives.json").write_text(json.dumps({"rig": rig, "splits": splits, "frames": frames}))
    return root

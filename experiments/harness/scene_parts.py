"""Cut scenes of a nuScenes folder into parts that are scenes of their own, so that a split can name them."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson

from occfeat.data.formats.nuscenes.json_tables import Record, read_table
from occfeat.data.source.paths import resolve

WHOLE_TABLES = ("sensor", "category", "log", "map", "visibility", "attribute")
"""Tables that are small, and copied as they are where they exist."""


@dataclass(frozen=True)
class Part:
    """A part of a scene, by shares of its duration."""

    scene: str
    begin: float = 0.0
    end: float = 1.0

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Return the part that `scene-0916` or `scene-0916:0-0.6` names.

        Raises:
            ValueError: The shares are not two rising numbers from 0 to 1.
        """
        scene, _, shares = text.partition(":")
        begin, _, end = (shares or "0-1").partition("-")
        part = cls(scene, float(begin), float(end))
        if not (scene and 0 <= part.begin < part.end <= 1):
            raise ValueError(f"expected SCENE or SCENE:BEGIN-END with 0 <= BEGIN < END <= 1, got {text!r}")
        return part

    @property
    def name(self) -> str:
        """Name of the scene that it becomes."""
        return f"{self.scene}:{self.begin:g}-{self.end:g}"

    def holds(self, other: "Part") -> bool:
        """Return whether another part lies within this one."""
        return self.scene == other.scene and self.begin <= other.begin and other.end <= self.end

    def meets(self, other: "Part") -> bool:
        """Return whether another part shares time with this one."""
        return self.scene == other.scene and self.begin < other.end and other.begin < self.end

    def has(self, share: float) -> bool:
        """Return whether it holds a moment, given as a share of the scene's duration."""
        return self.begin <= share < self.end or share == self.end == 1


def pieces(parts: Iterable[Part]) -> list[Part]:
    """Return the largest parts that each lie within or outside of every one of some parts."""
    wanted, cut = list(parts), []
    for scene in sorted({part.scene for part in wanted}):
        borders = sorted({border for p in wanted if p.scene == scene for border in (p.begin, p.end)})
        cut += [Part(scene, *pair) for pair in pairwise(borders)]
    return [piece for piece in cut if any(part.holds(piece) for part in wanted)]


def write_parts(
    root: Path, version: str, splits: Mapping[str, Iterable[Part]], out: Path, *, apart_m: float = 0
) -> None:
    """Write a nuScenes folder of parts of scenes, with the splits that they form.

    Files are linked where the file system allows it, and copied elsewhere. Key frames of the split `test`
    that are near a key frame of the split `labels` are left out.

    Args:
        root: nuScenes folder.
        version: Name of its folder of tables.
        splits: Parts by the name of the split.
        out: Folder to write, all or nothing.
        apart_m: Largest distance in m between the car at two key frames of one place that are near.

    Raises:
        ValueError: A scene is not there, or a part is without key frames.
    """
    wanted = {split: list(parts) for split, parts in splits.items()}
    cut = pieces(part for parts in wanted.values() for part in parts)
    tables = root / version
    piece_of = _pieces_of(tables, cut)
    near = _near_labelled(tables, piece_of, wanted, apart_m)
    piece_of = {token: piece for token, piece in piece_of.items() if token not in near}
    for piece in set(cut) - set(piece_of.values()):
        raise ValueError(f"{piece.name} has no key frame in {tables}")
    unfinished = out.with_name(f"{out.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / version).mkdir(parents=True)
    _write_tables(tables, unfinished / version, piece_of)
    named = {
        split: [piece.name for piece in cut if any(part.holds(piece) for part in parts)]
        for split, parts in wanted.items()
    }
    _write(unfinished / version / "splits.json", named)
    _link_files(root, unfinished, version)
    unfinished.rename(out)


def _records(tables: Path, name: str) -> Iterable[Record]:
    """Return the records of a table, one by one."""
    return (record for batch in read_table(tables / f"{name}.json") for record in batch)


def _write(path: Path, content: object) -> None:
    """Write JSON."""
    path.write_bytes(orjson.dumps(content))


def _pieces_of(tables: Path, cut: list[Part]) -> dict[str, Part]:
    """Return the piece of every key frame of some pieces, by token."""
    scenes = {record["token"]: record["name"] for record in _records(tables, "scene")}
    for name in {piece.scene for piece in cut} - set(scenes.values()):
        raise ValueError(f"{name} is not a scene of {tables}")
    used = {piece.scene for piece in cut}
    of_scene: dict[str, dict[str, int]] = {name: {} for name in used}
    for record in _records(tables, "sample"):
        if (scene := scenes.get(record["scene_token"])) in used:
            of_scene[scene][record["token"]] = record["timestamp"]
    found: dict[str, Part] = {}
    for scene, times in of_scene.items():
        first, last = min(times.values(), default=0), max(times.values(), default=0)
        for piece in (piece for piece in cut if piece.scene == scene):
            has = (token for token, time in times.items() if piece.has((time - first) / max(last - first, 1)))
            found |= dict.fromkeys(has, piece)
    return found


def _near_labelled(
    tables: Path, piece_of: dict[str, Part], wanted: Mapping[str, list[Part]], apart_m: float
) -> set[str]:
    """Return the key frames of the split `test` that are near one of the split `labels`."""
    if apart_m <= 0:
        return set()
    place = {record["token"]: record.get("location", "") for record in _records(tables, "log")}
    where = {record["name"]: place.get(record["log_token"], "") for record in _records(tables, "scene")}
    tokens = {
        split: [
            token for token, piece in piece_of.items() if any(p.holds(piece) for p in wanted.get(split, []))
        ]
        for split in ("labels", "test")
    }
    positions = _positions(tables, {*tokens["labels"], *tokens["test"]})
    near = set()
    for token in tokens["test"]:
        same = [one for one in tokens["labels"] if where[piece_of[one].scene] == where[piece_of[token].scene]]
        gaps = [np.linalg.norm(positions[one] - positions[token]) for one in same]
        if min(gaps, default=np.inf) < apart_m:
            near.add(token)
    return near


def _positions(tables: Path, tokens: set[str]) -> dict[str, np.ndarray]:
    """Return x and y of the car at some key frames, in m in the map's frame, by token."""
    pose_of = {
        record["ego_pose_token"]: record["sample_token"]
        for record in _records(tables, "sample_data")
        if record["is_key_frame"] and record["sample_token"] in tokens
    }
    return {
        pose_of[record["token"]]: np.array(record["translation"][:2])
        for record in _records(tables, "ego_pose")
        if record["token"] in pose_of
    }


def _write_tables(tables: Path, out: Path, piece_of: dict[str, Part]) -> None:
    """Write the tables of the key frames of pieces."""
    for name in WHOLE_TABLES:
        if (tables / f"{name}.json").is_file():
            shutil.copyfile(tables / f"{name}.json", out / f"{name}.json")
    samples = [
        {**record, "scene_token": piece_of[record["token"]].name}
        for record in _records(tables, "sample")
        if record["token"] in piece_of
    ]
    shots, boxes = (
        [record for record in _records(tables, name) if record["sample_token"] in piece_of]
        for name in ("sample_data", "sample_annotation")
    )
    _write(out / "scene.json", _scenes(tables, samples))
    for name, records in (("sample", samples), ("sample_data", shots), ("sample_annotation", boxes)):
        _write(out / f"{name}.json", _relinked(records, piece_of))
    for name, users, field in (
        ("ego_pose", shots, "ego_pose_token"),
        ("calibrated_sensor", shots, "calibrated_sensor_token"),
        ("instance", boxes, "instance_token"),
    ):
        used = {record[field] for record in users}
        _write(out / f"{name}.json", [r for r in _records(tables, name) if r["token"] in used])


def _scenes(tables: Path, samples: list[Record]) -> list[Record]:
    """Return the records of the scenes that pieces become; their token is their name."""
    of_scene: dict[str, list[Record]] = {}
    for sample in sorted(samples, key=lambda record: record["timestamp"]):
        of_scene.setdefault(sample["scene_token"], []).append(sample)
    whole = {record["name"]: record for record in _records(tables, "scene")}
    return [
        {
            **whole[name.rpartition(":")[0]],
            "token": name,
            "name": name,
            "nbr_samples": len(mine),
            "first_sample_token": mine[0]["token"],
            "last_sample_token": mine[-1]["token"],
        }
        for name, mine in of_scene.items()
    ]


def _relinked(records: list[Record], piece_of: dict[str, Part]) -> list[Record]:
    """Return records of key frames without links to those that are left out or of another piece."""
    of_record = {record["token"]: piece_of[record.get("sample_token", record["token"])] for record in records}
    return [
        {
            **record,
            **{
                link: record[link] if of_record.get(record[link]) == of_record[record["token"]] else ""
                for link in ("prev", "next")
                if link in record
            },
        }
        for record in records
    ]


def _link_files(root: Path, out: Path, version: str) -> None:
    """Link or copy the files that the tables of a new folder name, and the map expansion."""
    names = [record["filename"] for record in _records(out / version, "sample_data")]
    if (out / version / "map.json").is_file():
        names += [record["filename"] for record in _records(out / version, "map")]
    names += [str(file.relative_to(root)) for file in root.glob("maps/expansion/*.json")]
    for name in names:
        source = resolve(root, name)
        if source.is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(source, out / name)


def _link_or_copy(source: Path, out: Path) -> None:
    """Link a file, or copy it where the file system does not link."""
    try:
        os.link(source, out)
    except OSError:
        shutil.copyfile(source, out)

"""Put known errors into cameras of a data set, and see what the comparison with the LiDAR finds.

Usage: python experiments/calibration.py DATA RESULTS.jsonl     run what is missing in the ledger
       python experiments/calibration.py --report RESULTS.jsonl  print the table
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from harness.ledger import Ledger, Metrics
from occfeat.data.check.alignment.align import LOOKED_AT
from occfeat.data.check.alignment.judge import LIMIT, SIGMAS, SURE, uncertainty
from occfeat.data.check.alignment.match import Match, Shot
from occfeat.data.check.alignment.search import Scorer, fit
from occfeat.data.check.alignment.shots import Scan, groups_of, read_grey, read_scan, shot_of
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.data.keyframe import CameraRecord
from occfeat.settings.sections import DataConfig

TURNS_DEG, TIMES_S = (0.5, 1.0, 2.0), (0.04, 0.08)
Errors = tuple[float, float, float, float]
AXES = "xyzt"
"""Turns in degrees and a shift in time in seconds, as letters."""


@dataclass(frozen=True)
class Case:
    """Errors that are put into a camera."""

    data: str
    channel: str
    x: float
    y: float
    z: float
    t: float

    @property
    def put_in(self) -> Errors:
        """Return the errors in one piece."""
        return self.x, self.y, self.z, self.t


def cases() -> list[Errors]:
    """Return the errors that are put in: none, then about one axis or in time."""
    found: list[Errors] = [(0.0, 0.0, 0.0, 0.0)]
    sizes = [(axis, size) for size in (1.0, 2.0, 0.5) for axis in range(3)]
    for axis, size in (*sizes[:3], (3, 0.04), *sizes[3:6], (3, 0.08), *sizes[6:]):
        for sign in (1, -1):
            errors = [0.0] * 4
            errors[axis] = sign * size
            found.append((errors[0], errors[1], errors[2], errors[3]))
    return found


def spoil(index: Index, row: int, record: CameraRecord, errors: Errors) -> CameraRecord:
    """Return a camera with errors: turned, and with the pose of an earlier time."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(errors[:3], degrees=True).as_matrix()
    moved = np.eye(4)
    if errors[3]:
        path = index.path(row, 1.6)
        time_s, poses = path.after_s.numpy(), path.ego_from_car.numpy()
        position = CubicSpline(time_s, poses[:, :3, 3])
        rotation = RotationSpline(time_s, Rotation.from_matrix(poses[:, :3, :3]))
        now, then = (np.eye(4) for _ in range(2))
        for pose, at_s in ((now, 0.0), (then, -errors[3])):
            pose[:3, :3], pose[:3, 3] = rotation(at_s).as_matrix(), position(at_s)
        moved = then @ np.linalg.inv(now)
    changed = torch.from_numpy(moved) @ record.lidar_ego_from_camera @ torch.from_numpy(turn)
    calibration = record.camera_ego_from_camera @ torch.from_numpy(turn)
    return replace(record, lidar_ego_from_camera=changed, camera_ego_from_camera=calibration)


def shots(
    index: Index, scans: dict[int, Scan], channel: str, kept: dict[str, np.ndarray], errors: Errors
) -> Iterator[Shot]:
    """Return the images of a camera with errors put in."""
    for row, scan in scans.items():
        for record in scan.key_frame.cameras:
            if record.channel == channel:
                if record.token not in kept:
                    kept[record.token] = read_grey(index, record)
                yield shot_of(scan, spoil(index, row, record, errors), kept[record.token])


def run(root: Path, ledger: Ledger[Case]) -> None:
    """Estimate the errors of all cameras in all cases that the ledger lacks."""
    index = Index.open(DataConfig(root=root))
    rows = np.sort(spread(index.rows("all"), LOOKED_AT))
    scans = {int(row): scan for row in rows if (scan := read_scan(index, int(row))) is not None}
    done, kept = ledger.read(), dict[str, np.ndarray]()
    for errors in cases():
        for case in (Case(root.name, channel, *errors) for channel in index.default_channels):
            if case not in done:
                seen = list(shots(index, scans, case.channel, kept, errors))
                found = fit(Scorer([Match(group) for group in groups_of(seen)]), with_time=True)
                values = {"found": found.errors, "uncertainty": uncertainty(found)}
                row = {
                    f"{name}_{axis}": float(value)
                    for name, of_axes in values.items()
                    for axis, value in zip(AXES, of_axes, strict=True)
                }
                ledger.add({case: row | {"gains": found.gains}}, ledger.file.parent / "locks")


def numbers(row: Metrics, name: str) -> np.ndarray:
    """Return the four values of a row that have a name."""
    return np.array([row[f"{name}_{axis}"] for axis in AXES])


def report(rows: dict[Case, Metrics]) -> None:
    """Print how far the estimates are from what was put in, for each kind of error."""
    base = {case.channel: numbers(row, "found") for case, row in rows.items() if not any(case.put_in)}
    errors: dict[str, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    judged: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for case, row in rows.items():
        put_in, found = np.array(case.put_in), numbers(row, "found")
        bound = np.array(LIMIT) + SIGMAS * numbers(row, "uncertainty")
        named = (np.abs(found) > bound) & (row["gains"] >= SURE)
        axis = int(np.abs(put_in).argmax())
        name = "none" if not put_in.any() else f"{AXES[axis]} {abs(put_in[axis]):g}"
        rest = np.abs(found - put_in - base.get(case.channel, np.full(4, np.nan)))
        wrong = bool(np.delete(named, axis).any() if put_in.any() else named.any())
        errors[name].append((np.abs(found - put_in), rest))
        judged[name].append((bool(named[axis]), wrong))
    sys.stdout.write("put in | largest error x, y, z (deg), time (ms) | beside untouched | named | wrongly\n")
    for name, each in errors.items():
        parts = []
        for largest in np.max(np.array(each), axis=0) * (1, 1, 1, 1000):
            parts.append(f"{largest[0]:.2f} {largest[1]:.2f} {largest[2]:.2f} {largest[3]:.0f}")
        hits, false = (sum(column) for column in zip(*judged[name], strict=True))
        sys.stdout.write(f"{name} | {parts[0]} | {parts[1]} | {hits} of {len(each)} | {false}\n")


if __name__ == "__main__":
    rows = Ledger(Path(sys.argv[2]), Case)
    if sys.argv[1] == "--report":
        report(rows.read())
    else:
        run(Path(sys.argv[1]), rows)

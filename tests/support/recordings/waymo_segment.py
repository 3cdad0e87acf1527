"""A small segment of Waymo Open Dataset v2: eight frames, one camera, two LiDARs, boxes of every type."""

from pathlib import Path

import numpy as np

from tests.support.recordings.waymo_ranges import matrix_of
from tests.support.recordings.waymo_tables import CAMERA, INTRINSICS, LASER, OBJECT, TIME, write_component

SEGMENT = "seg"
IMAGE = bytes.fromhex("ffd8")
POSES = {100_000 * i: matrix_of([0.0, 0.0, 0.1 * i, 10.0 * i, 0.0, 0.0]) for i in range(1, 9)}
MOUNTED = matrix_of([0.0, 0.0, 2.0, 1.0, 0.0, 2.0])


def range_row(time_us: int, laser: int, *returns: np.ndarray) -> dict[str, object]:
    """Return a row of range images."""
    row: dict[str, object] = {TIME: time_us, LASER: laser}
    for number, image in enumerate(returns, 1):
        row[f"range_image_return{number}.values"] = image.ravel().astype(np.float32)
        row[f"range_image_return{number}.shape"] = list(image.shape)
    return row


def ranges(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a random range image; a quarter of its pixels have no return."""
    return np.random.default_rng(seed).uniform(-20, 60, (*shape, 4)).astype(np.float32)


def pixel_poses(time_us: int) -> np.ndarray:
    """The car drives 1 m and turns by 0.01 rad in a spin."""
    i, share = time_us / 100_000, np.linspace(-0.5, 0.5, 6)
    poses = np.zeros((2, 6, 6))
    poses[..., 2], poses[..., 3] = 0.1 * i + 0.01 * share, 10 * i + share
    return poses.astype(np.float32)


def build_segment(root: Path) -> Path:
    """Write the segment into a folder such as `training`, and return that."""
    poses = [{TIME: t, "world_from_vehicle.transform": pose.ravel()} for t, pose in POSES.items()]
    write_component(root, "vehicle_pose", SEGMENT, poses)
    optics = {f"intrinsic.{name}": float(i + 1) / 100 for i, name in enumerate(INTRINSICS)}
    calibration = {CAMERA: 1, **optics, "extrinsic.transform": np.eye(4).ravel(), "width": 4, "height": 3}
    write_component(root, "camera_calibration", SEGMENT, [calibration])
    images = [
        {TIME: t, CAMERA: 1, "image": IMAGE, "pose.transform": pose.ravel(), "pose_timestamp": t / 1e6 + 0.01}
        for t, pose in POSES.items()
    ]
    write_component(root, "camera_image", SEGMENT, images)
    beams = {"beam_inclination.min": -0.2, "beam_inclination.max": 0.1}
    top = {LASER: 1, "extrinsic.transform": MOUNTED.ravel(), **beams, "beam_inclination.values": [-0.2, 0.0]}
    front = {LASER: 2, "extrinsic.transform": np.eye(4).ravel(), **beams}
    write_component(root, "lidar_calibration", SEGMENT, [front, top])
    scans = [
        row
        for t in POSES
        for row in (
            range_row(t, 1, ranges(t, (2, 6)), ranges(t + 1, (2, 6))),
            range_row(t, 2, ranges(t + 2, (3, 5))),
        )
    ]
    write_component(root, "lidar", SEGMENT, scans)
    write_component(root, "lidar_pose", SEGMENT, [range_row(t, 1, pixel_poses(t)) for t in POSES])
    box = {f"box.center.{axis}": 1.0 for axis in "xyz"} | {f"box.size.{axis}": 2.0 for axis in "xyz"}
    boxes = [
        {TIME: t, OBJECT: f"thing {kind}", **box, "box.heading": 0.5, "type": kind}
        | {"num_lidar_points_in_box": 7, "num_top_lidar_points_in_box": 0}
        for t in POSES
        for kind in range(6)
    ]
    write_component(root, "lidar_box", SEGMENT, boxes)
    return root

"""Reading segments of Waymo Open Dataset v2, beside decoding their parquet files alone.

    python -m benchmarks.data.waymo [--data FOLDER] [--frames 20] [--repeats 5]

Without `--data`, a made-up segment with range images and JPEGs of the real sizes is written first. Decoding
reads the same columns of the same rows with pyarrow and throws them away. Times are those of the processor.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measuring import in_fresh_process, in_turn, peak_mb, ratio
from occfeat.data.recordings.waymo.component import BATCH_ROWS, BUFFER_BYTES
from occfeat.data.recordings.waymo.recording import find_recordings
from tests.support.recordings.waymo_tables import (
    CAMERA,
    INTRINSICS,
    LASER,
    TIME,
    ComponentWriter,
    write_component,
)

SEGMENT = "made-up"
SHAPES = {1: (64, 2650), 2: (200, 600), 3: (200, 600), 4: (200, 600), 5: (200, 600)}
IMAGE_SIZE = (1920, 1280)


def range_row(time_us: int, laser: int, images: Iterable[np.ndarray]) -> dict[str, object]:
    """Return a row of range images."""
    row: dict[str, object] = {TIME: time_us, LASER: laser}
    for number, image in enumerate(images, 1):
        row[f"range_image_return{number}.values"] = image.ravel()
        row[f"range_image_return{number}.shape"] = list(image.shape)
    return row


def range_image(rng: np.random.Generator, shape: tuple[int, int], share: float) -> np.ndarray:
    """Return a range image of which a share of the pixels has a return."""
    image = rng.uniform(0, 70, (*shape, 4)).astype(np.float32)
    image[rng.random(shape) >= share] = -1
    return image


def write_segment(root: Path, frames: int) -> None:
    """Write a made-up segment; each component is one row group per ten frames."""
    rng, pose = np.random.default_rng(0), np.eye(4).ravel()
    stamps = [1_550_000_000_000_000 + 100_000 * i for i in range(frames)]
    coarse = Image.fromarray(rng.integers(0, 256, (160, 240, 3), dtype=np.uint8)).resize(IMAGE_SIZE)
    stream = io.BytesIO()
    coarse.save(stream, "JPEG", quality=85)
    write_component(
        root, "vehicle_pose", SEGMENT, [{TIME: t, "world_from_vehicle.transform": pose} for t in stamps]
    )
    optics = {f"intrinsic.{name}": 2000.0 if name[0] == "f" else 0.0 for name in INTRINSICS}
    cameras = [{CAMERA: i, **optics, "extrinsic.transform": pose} for i in range(1, 6)]
    write_component(root, "camera_calibration", SEGMENT, cameras)
    lasers = [
        {LASER: i, "extrinsic.transform": pose, "beam_inclination.min": -0.3, "beam_inclination.max": 0.05}
        for i in SHAPES
    ]
    write_component(root, "lidar_calibration", SEGMENT, lasers)
    files = {tag: ComponentWriter(root, tag, SEGMENT) for tag in ("camera_image", "lidar", "lidar_pose")}
    for begin in range(0, frames, 10):
        some = stamps[begin : begin + 10]
        posed = {"pose.transform": pose, "image": stream.getvalue()}
        files["camera_image"].write(
            [{TIME: t, CAMERA: i, "pose_timestamp": t / 1e6, **posed} for t in some for i in range(1, 6)]
        )
        scans = [
            range_row(t, i, (range_image(rng, shape, share) for share in (0.85 if i == 1 else 0.5, 0.05)))
            for t in some
            for i, shape in SHAPES.items()
        ]
        files["lidar"].write(scans)
        turns = rng.normal(0, 0.01, (64, 2650, 6)).astype(np.float32)
        files["lidar_pose"].write([range_row(t, 1, [turns]) for t in some])
    for file in files.values():
        file.close()


def decode(root: Path) -> float:
    """Return the processor seconds that decoding takes."""
    begin = time.process_time()
    for tag in ("camera_image", "lidar", "lidar_pose"):
        for path in sorted((root / tag).glob("*.parquet")):
            with pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
                names = [name for name in file.schema_arrow.names if _is_read(name)]
                for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
                    assert batch.num_rows
    return time.process_time() - begin


def _is_read(name: str) -> bool:
    """Return whether the package reads a column of images or range images."""
    parts = (".image", "_name", ".pose.transform", "].image", "].pose_timestamp", ".values", ".shape")
    return name.endswith(parts)


def read(root: Path, key_hz: float) -> float:
    """Return the processor seconds that reading key frames takes."""
    begin = time.process_time()
    for recording in find_recordings(root, key_hz=key_hz):
        for moment in recording.moments():
            assert moment.sweeps
    return time.process_time() - begin


def main(given: argparse.Namespace) -> None:
    """Measure and print."""
    if given.write:
        write_segment(given.write, given.frames)
        return
    if given.peak:
        read(given.data, 10.0)
        print(peak_mb())
        return
    with tempfile.TemporaryDirectory() as folder:
        root = given.data
        if root is None:
            root = Path(folder) / "training"
            in_fresh_process(__file__, "--write", root, "--frames", given.frames)
        (peak,) = in_fresh_process(__file__, "--data", root, "--peak")
        ways = {
            "decoding alone": partial(decode, root),
            "package, every frame a key frame": partial(read, root, 10.0),
            "package, 2 key frames per second": partial(read, root, 2.0),
        }
        times = in_turn(ways, given.repeats)
    print("| way | share of the speed of decoding alone |\n|---|---|")
    for way, seconds in times.items():
        share = ratio(times["decoding alone"], seconds)
        print(f"| {way} | {share.median:.0%} ({share.low:.0%} to {share.high:.0%}) |")
    decoded = sorted(times["decoding alone"])[given.repeats // 2]
    print(f"\nDecoding takes {decoded:.2f} s; peak memory with every frame a key frame is {peak:.0f} MB.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder of Waymo Open Dataset v2 with one split")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    main(parser.parse_args())

"""`occfeat import` beside reading the bag alone: rate and peak memory.

    python -m benchmarks.data.importing [--seconds 40] [--workers 1] [--repeats 3] [--deskew] [--cold]

Writes a bag (MCAP) of six cameras of 1600 x 900 (JPEG) and a LiDAR of 100 000 points, all at 10 Hz, with
poses at 100 Hz, to a temporary folder. Every line is a fresh process: reading all messages of the sensors
with rosbags, reading and decoding them here (of an image the header), reading them and writing as many bytes
as an import to as many files on disk, and importing: two key frames per second, and all sweeps. With
`--deskew`, points have times and are deskewed, and those in a box of the car are left out. Ways take turns.
With `--cold`, the bag is not in the page cache.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measuring import ratio
from tests.support.recordings.bag_writer import BagFile
from tests.support.recordings.content import jpeg, points

CAMERAS = ("front_left", "front", "front_right", "back_right", "back", "back_left")
POINT = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "ring"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2"],
        "offsets": [0, 4, 8, 16, 20],
        "itemsize": 32,
    }
)
TIMED = np.dtype(
    {
        "names": [*POINT.names, "t"],
        "formats": [*(POINT[name] for name in POINT.names), "<u4"],
        "offsets": [0, 4, 8, 16, 20, 24],
        "itemsize": 32,
    }
)
SIZE, POINTS, START_US = (900, 1600), 100_000, 1_700_000_000_000_000

COMMON = """
import json, os, resource, sys, time
from pathlib import Path
bag, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def tell(begin):
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = [resource.getrusage(who).ru_maxrss / 1e3 for who in users]
    busy = sum(os.times()[:4]) - before
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mb": max(peak), "busy": busy}))
before = sum(os.times()[:4])
"""
READ = (
    COMMON
    + """
from rosbags.rosbag2 import Reader
begin = time.perf_counter()
kinds = ("sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/PointCloud2")
with Reader(bag) as opened:
    for _ in opened.messages([one for one in opened.connections if one.msgtype in kinds]):
        pass
tell(begin)
"""
)
DECODE = (
    COMMON
    + """
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.images import IMAGE_KINDS, read_image
from occfeat.data.recordings.bags.clouds.read import CLOUD_KINDS, read_cloud
begin = time.perf_counter()
with open_bag([bag]) as opened:
    topics = [one.name for one in opened.topics_of(*IMAGE_KINDS, *CLOUD_KINDS)]
    for message in opened.messages(topics):
        (read_image if message.kind in IMAGE_KINDS else read_cloud)(message)
tell(begin)
"""
)
WRITE = (
    COMMON
    + """
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.images import IMAGE_KINDS
from occfeat.data.recordings.bags.clouds.read import CLOUD_KINDS
begin = time.perf_counter()
out.mkdir()
seen = {}
with open_bag([bag]) as opened:
    topics = [one.name for one in opened.topics_of(*IMAGE_KINDS, *CLOUD_KINDS)]
    for count, message in enumerate(opened.messages(topics)):
        number = seen[message.topic] = seen.get(message.topic, -1) + 1
        if message.kind in CLOUD_KINDS:
            (out / str(count)).write_bytes(memoryview(message.data)[:2_000_000])
        elif number % 5 == 0:
            (out / str(count)).write_bytes(message.data)
for path in out.iterdir():
    with path.open("rb+") as file:
        os.fsync(file.fileno())
tell(begin)
"""
)
IMPORT = (
    COMMON
    + """
from occfeat.data.recordings.from_bags.plan import plan_recordings
from occfeat.data.recordings.rig_file import read_rig_file
from occfeat.data.recordings.write import write_recordings
if __name__ == "__main__":
    begin = time.perf_counter()
    recordings = plan_recordings([[bag]], read_rig_file(bag.parent / "rig.yaml"))
    write_recordings(out, recordings, made_from=b"", workers=workers)
    tell(begin)
"""
)


def write_bag(path: Path, seconds: int, *, deskew: bool) -> Path:
    """Write the bag and its rig file."""
    k = np.array([[1200.0, 0, 799.5], [0, 1200, 449.5], [0, 0, 1]])
    images = [jpeg(SIZE, seed) for seed in range(4)]
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    cloud = points(POINTS, TIMED if deskew else POINT)
    if deskew:
        cloud["t"] = np.linspace(0, 99e6, POINTS)
    with BagFile(path, "mcap") as bag:
        still = (0.0, 0, 0, 1, 0, 0, 0)
        frames = [bag.transform("base_link", name, START_US, still) for name in (*CAMERAS, "lidar")]
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START_US, bag.transforms(*frames))
        for tick in range(seconds * 100):
            at = START_US + 10_000 * tick
            moved = bag.transform("map", "base_link", at, (tick * 0.1, 0, 0, 1, 0, 0, 0))
            bag.write("/tf", "tf2_msgs/msg/TFMessage", at, bag.transforms(moved))
            if tick % 10:
                continue
            for number, name in enumerate(CAMERAS):
                info = bag.camera_info(at, name, SIZE, k)
                bag.write(f"/{name}/camera_info", "sensor_msgs/msg/CameraInfo", at, info)
                content = images[(tick + number) % 4] + noise  # what follows the end of a JPEG is not read
                kind = "sensor_msgs/msg/CompressedImage"
                bag.write(f"/{name}/image_raw/compressed", kind, at, bag.compressed(at, name, content))
            bag.write("/points", "sensor_msgs/msg/PointCloud2", at, bag.cloud(at, "lidar", cloud))
    cameras = {
        f"CAM_{name.upper()}": {"topic": f"/{name}/image_raw/compressed", "info": f"/{name}/camera_info"}
        for name in CAMERAS
    }
    rig = {
        "base_frame": "base_link",
        "cameras": cameras,
        "lidars": {"LIDAR_TOP": {"topic": "/points"}},
        "poses": {"source": "tf", "global_frame": "map"},
        "car": {"lower_m": [-1, -1, 0], "upper_m": [4, 1, 2]} if deskew else {},
    }
    (path.parent / "rig.yaml").write_text(json.dumps(rig), encoding="utf-8")
    return path


def forget(bag: Path) -> None:
    """Take the files of the bag out of the page cache."""
    for path in bag.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(code: str, bag: Path, out: Path, workers: int) -> dict[str, float]:
    """Run code in a fresh process and return what it measured."""
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    script = out.parent / "script.py"
    script.write_text(code, encoding="utf-8")
    words = [sys.executable, str(script), str(bag), str(out), str(workers)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Run the benchmark and print what it measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--deskew", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        bag = write_bag(folder / "bag", given.seconds, deskew=given.deskew)
        size_mb = sum(file.stat().st_size for file in bag.iterdir()) / 1e6
        ways = {
            "read": READ,
            "read and decode": DECODE,
            "read and write": WRITE,
            "import": IMPORT,
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        peak, busy = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, math.inf)
        for _ in range(given.repeats):
            for way, code in ways.items():
                if given.cold:
                    forget(bag)
                found = run(code, bag, folder / "drive", given.workers)
                seconds[way].append(found["seconds"])
                peak[way], busy[way] = max(peak[way], found["peak_mb"]), min(busy[way], found["busy"])
        for way in ways:
            middle = sorted(seconds[way])[given.repeats // 2]
            each = f"{busy[way] / size_mb * 1e3:.2f} s of processor time per GB"
            print(f"{way:<16} {size_mb / middle:7.0f} MB/s  {each}  peak {peak[way]:.0f} MB")
        for way in ("read", "read and decode", "read and write"):
            share = ratio(seconds[way], seconds["import"])
            print(f"import: {share.median:.2f} of {way!r} ({share.low:.2f} to {share.high:.2f})")


if __name__ == "__main__":
    main()

"""`occfeat import` beside reading the bag alone: rate and peak memory.

    python benchmarks/importing.py [--seconds 40] [--folder FOLDER] [--workers 1]

Writes a bag (MCAP) of six cameras of 1600 x 900 (JPEG) and a LiDAR of 100 000 points, all at 10 Hz, with
poses at 100 Hz, to a temporary folder. Every line is a fresh process: reading all messages of the sensors,
reading and decoding them, and importing them with all sweeps. Ways take turns; the bag is in the page cache.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.recordings.bag_writer import BagFile  # noqa: E402
from tests.recordings.content import jpeg, points  # noqa: E402

CAMERAS = ("front_left", "front", "front_right", "back_right", "back", "back_left")
POINT = np.dtype(
    {
        "names": ["x", "y", "z", "intensity", "ring"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<u2"],
        "offsets": [0, 4, 8, 16, 20],
        "itemsize": 32,
    }
)
SIZE, POINTS, START_US = (900, 1600), 100_000, 1_700_000_000_000_000
REPEATS = 3

COMMON = """
import json, resource, sys, time
from pathlib import Path
bag, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def tell(begin, count=0):
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = [resource.getrusage(who).ru_maxrss / 1e3 for who in users]
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mb": max(peak), "count": count}))
"""
READ = (
    COMMON
    + """
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.images import IMAGE_KINDS, read_image
from occfeat.data.recordings.bags.clouds import CLOUD_KINDS, read_cloud
begin = time.perf_counter()
with open_bag([bag]) as opened:
    topics = [one.name for one in opened.topics_of(*IMAGE_KINDS, *CLOUD_KINDS)]
    count = 0
    for message in opened.messages(topics):
        count += 1
        if DECODE:
            (read_image if message.kind in IMAGE_KINDS else read_cloud)(message)
tell(begin, count)
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
    results = write_recordings(out, recordings, made_from=b"", workers=workers)
    tell(begin, sum(result.key_frames for result in results))
"""
)


def write_bag(path: Path, seconds: int) -> Path:
    """Write the bag and its rig file."""
    k = np.array([[1200.0, 0, 799.5], [0, 1200, 449.5], [0, 0, 1]])
    images = [jpeg(SIZE, seed) for seed in range(4)]
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    cloud = points(POINTS, POINT)
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
    rig = {"base_frame": "base_link", "cameras": cameras, "lidars": {"LIDAR_TOP": {"topic": "/points"}}}
    (path.parent / "rig.yaml").write_text(
        json.dumps({**rig, "poses": {"source": "tf", "global_frame": "map"}})
    )
    return path


def run(code: str, bag: Path, out: Path, workers: int) -> dict[str, float]:
    """Run code in a fresh process and return what it measured."""
    shutil.rmtree(out, ignore_errors=True)
    script = out.parent / "script.py"
    script.write_text(code)
    words = [sys.executable, str(script), str(bag), str(out), str(workers)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        bag = write_bag(folder / "bag", given.seconds)
        size_mb = sum(file.stat().st_size for file in bag.iterdir()) / 1e6
        ways = {
            "read": READ.replace("DECODE", "False"),
            "read and decode": READ.replace("DECODE", "True"),
            "import": IMPORT,
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        peak = dict.fromkeys(ways, 0.0)
        for _ in range(REPEATS):
            for way, code in ways.items():
                found = run(code, bag, folder / "drive", given.workers)
                seconds[way].append(found["seconds"])
                peak[way] = max(peak[way], found["peak_mb"])
        for way in ways:
            middle = sorted(seconds[way])[REPEATS // 2]
            share = [a / b for a, b in zip(seconds["read and decode"], seconds[way], strict=True)]
            rate = sorted(share)[REPEATS // 2]
            print(
                f"{way:<16} {size_mb / middle:7.0f} MB/s  {rate:.2f} of reading and decoding "
                f"({min(share):.2f} to {max(share):.2f})  peak {peak[way]:.0f} MB"
            )


if __name__ == "__main__":
    main()

"""The index of tables of nuScenes trainval's size: time and memory to build, to open and to read.

    python -m benchmarks.data.index [--devkit PYTHON] [--folder FOLDER] [--share 1.0]

Writes tables of 34 149 key frames, 2.6 million `sample_data` and 1.17 million annotations (made up, 3 GB) to
a temporary folder and measures in fresh processes. `--devkit` names an interpreter with nuscenes-devkit that
then loads the same tables. `--folder` keeps the tables for another run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import record

SCENES, KEY_FRAMES, BOXES, INSTANCES = 850, 34_149, 1_166_187, 64_386
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
RADARS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
RECORDS_PER_HALF_SECOND = {
    **dict.fromkeys(CAMERAS, 6),
    "LIDAR_TOP": 10,
    **dict.fromkeys(RADARS, 6),
}  # 77 in all, one of each channel a key frame
VERSION = "v1.0-trainval"

BUILD = """
import json, resource, sys, time
from pathlib import Path
from occfeat.settings.sections import DataConfig
from occfeat.data.index.index import Index
begin = time.perf_counter()
index = Index.open(DataConfig(root=Path(sys.argv[1])), rebuild=True)
seconds = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps({"seconds": seconds, "peak_mb": peak, "file_mb": index.file.stat().st_size / 1e6}))
"""

OPEN = """
import json, sys, time
from pathlib import Path
from occfeat.settings.sections import DataConfig
from occfeat.data.index.index import Index
def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1e3
before = resident("VmRSS")
begin = time.perf_counter()
index = Index.open(DataConfig(root=Path(sys.argv[1])))
rows = index.rows("all")
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "mb": resident("VmRSS"), "grown_mb": resident("VmRSS") - before,
                  "key_frames": len(rows)}))
"""

READ = """
import json, random, sys, time
from pathlib import Path
from occfeat.settings.sections import DataConfig
from occfeat.data.index import reading  # torch: not what is measured here
from occfeat.data.index.index import Index
def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1e3
index = Index.open(DataConfig(root=Path(sys.argv[1])))
begin = time.perf_counter()
index.key_frame(0)
first = time.perf_counter() - begin
rows = random.Random(0).choices(range(len(index)), k=8000)
own = []
begin = time.perf_counter()
for number, row in enumerate(rows):
    if number in (100, 1000, 4000):
        own.append(resident("RssAnon"))
    index.key_frame(row, sweeps=3)
each = (time.perf_counter() - begin) / len(rows)
own.append(resident("RssAnon"))
print(json.dumps({"first_ms": first * 1e3, "each_ms": each * 1e3, "own_mb": own}))
"""

DEVKIT = """
import json, resource, sys, time
from nuscenes.nuscenes import NuScenes
begin = time.perf_counter()
NuScenes("v1.0-trainval", sys.argv[1], verbose=False)
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))
"""


def token(table: str, number: int) -> str:
    """Return a token that looks random and is not."""
    salt = int.from_bytes(table.encode()[-4:], "big")
    return f"{((number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 + salt * 0x1000003) % 2**128:032x}"


def write_table(folder: Path, name: str, records: Iterator[dict[str, object]]) -> None:
    """Write a table as nuScenes' are: one field a line."""
    with (folder / f"{name}.json").open("w", encoding="utf-8") as stream:
        stream.write("[\n")
        for number, record in enumerate(records):
            stream.write(",\n" if number else "")
            stream.write(json.dumps(record, indent=0))
        stream.write("\n]")


def write_small_tables(folder: Path) -> None:
    """Write the tables that hold few records."""
    channels = list(RECORDS_PER_HALF_SECOND)
    kinds = {"C": "camera", "L": "lidar", "R": "radar"}
    sensors = [
        {"token": token("sensor", i), "channel": name, "modality": kinds[name[0]]}
        for i, name in enumerate(channels)
    ]
    intrinsics = [[1266.4, 0.0, 816.3], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]
    calibrations = [
        {
            "token": token("calibrated_sensor", scene * len(channels) + i),
            "sensor_token": token("sensor", i),
            "translation": [1.7, 0.0159, 1.51],
            "rotation": [0.4998, -0.5030, 0.4997, -0.4973],
            "camera_intrinsic": intrinsics if name in CAMERAS else [],
        }
        for scene in range(SCENES)
        for i, name in enumerate(channels)
    ]
    scenes = [
        {
            "token": token("scene", i),
            "log_token": token("log", 0),
            "name": f"scene-{i:04d}",
            "description": "",
        }
        for i in range(SCENES)
    ]
    categories = [{"token": token("category", i), "name": f"vehicle.kind{i}"} for i in range(23)]
    instances = [
        {"token": token("instance", i), "category_token": token("category", i % 23), "nbr_annotations": 18}
        for i in range(INSTANCES)
    ]
    tables: dict[str, list[dict[str, object]]] = {
        "sensor": list(sensors),
        "calibrated_sensor": list(calibrations),
        "scene": list(scenes),
        "category": list(categories),
        "instance": list(instances),
        "attribute": [],
        "visibility": [{"token": str(i), "level": "", "description": ""} for i in range(1, 5)],
        "log": [{"token": token("log", 0), "logfile": "a", "location": "singapore-onenorth"}],
        "map": [{"token": token("map", 0), "filename": "maps/a.png", "log_tokens": [token("log", 0)]}],
    }
    for name, records in tables.items():
        write_table(folder, name, iter(records))


def scene_of(sample: int) -> int:
    """Return the number of the scene of a key frame."""
    return sample * SCENES // KEY_FRAMES


def samples(share: float) -> Iterator[dict[str, object]]:
    """Yield the records of a share of the key frames."""
    for i in range(int(KEY_FRAMES * share)):
        scene = token("scene", scene_of(i))
        yield {
            "token": token("sample", i),
            "timestamp": time_us(i),
            "prev": "",
            "next": "",
            "scene_token": scene,
        }


def time_us(sample: int) -> int:
    """Return the time of a key frame."""
    return 1_530_000_000_000_000 + sample * 500_000


def sample_data(share: float) -> Iterator[dict[str, object]]:
    """Yield the records of images and sweeps of a share of the key frames."""
    number, channels = 0, list(RECORDS_PER_HALF_SECOND)
    for i in range(int(KEY_FRAMES * share)):
        for j, channel in enumerate(channels):
            count = RECORDS_PER_HALF_SECOND[channel]
            for k in range(count):
                at_us = time_us(i) - (count - 1 - k) * 500_000 // count
                name = f"n015-2018-07-24-11-22-45+0800__{channel}__{at_us}"
                yield {
                    "token": token("sample_data", number),
                    "sample_token": token("sample", i),
                    "ego_pose_token": token("sample_data", number),
                    "calibrated_sensor_token": token("calibrated_sensor", scene_of(i) * len(channels) + j),
                    "timestamp": at_us,
                    "fileformat": "jpg" if channel in CAMERAS else "pcd",
                    "is_key_frame": k == count - 1,
                    "height": 900 if channel in CAMERAS else 0,
                    "width": 1600 if channel in CAMERAS else 0,
                    "filename": f"{'samples' if k == count - 1 else 'sweeps'}/{channel}/{name}.jpg",
                    "prev": token("sample_data", number - 1),
                    "next": token("sample_data", number + 1),
                }
                number += 1


def ego_poses(share: float) -> Iterator[dict[str, object]]:
    """Yield the ego poses of a share of the key frames."""
    total = int(KEY_FRAMES * share) * sum(RECORDS_PER_HALF_SECOND.values())
    for i in range(total):
        yield {
            "token": token("sample_data", i),
            "timestamp": 1_530_000_000_000_000 + i * 6493,
            "rotation": [0.5720063498929273, -0.0021434844534272, 0.0115640949801517, -0.8201648693182716],
            "translation": [411.4199861830012 + i * 1e-4, 1181.197175631848 - i * 1e-4, 0.0],
        }


def annotations(share: float) -> Iterator[dict[str, object]]:
    """Yield the boxes of a share of the key frames."""
    boxes, key_frames = int(BOXES * share), int(KEY_FRAMES * share)
    for i in range(boxes):
        yield {
            "token": token("sample_annotation", i),
            "sample_token": token("sample", i * key_frames // boxes),
            "instance_token": token("instance", i % INSTANCES),
            "visibility_token": str(1 + i % 4),
            "attribute_tokens": [],
            "translation": [373.256 + i % 50, 1130.419 - i % 60, 0.8],
            "size": [0.621, 0.669, 1.642],
            "rotation": [0.9831106536, 0.0, 0.0, -0.1830121381],
            "prev": token("sample_annotation", i - 1),
            "next": token("sample_annotation", i + 1),
            "num_lidar_pts": i % 100,
            "num_radar_pts": 0,
        }


def write_tables(root: Path, share: float) -> None:
    """Write all tables, unless an earlier run has."""
    from PIL import Image

    folder = root / VERSION
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_small_tables(folder)
    write_table(folder, "sample", samples(share))
    write_table(folder, "sample_data", sample_data(share))
    write_table(folder, "ego_pose", ego_poses(share))
    write_table(folder, "sample_annotation", annotations(share))
    (root / "maps").mkdir(exist_ok=True)
    Image.new("L", (8, 8)).save(root / "maps" / "a.png")
    (folder / "done").touch()


def run(python: str, code: str, root: Path) -> dict[str, float]:
    """Run code in a fresh process; what it prints last."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, "-c", code, str(root)], check=True, capture_output=True, text=True, env=env
    )
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return values


def main() -> None:
    """Run the benchmark and print what it measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devkit", help="interpreter with nuscenes-devkit")
    parser.add_argument("--folder", type=Path, help="where the tables are kept")
    parser.add_argument("--share", type=float, default=1.0, help="share of trainval's size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary)
        print("writing tables ...", flush=True)
        write_tables(root, options.share)
        size = sum(path.stat().st_size for path in (root / VERSION).glob("*.json")) / 1e9
        print(f"{size:.2f} GB of tables", flush=True)
        report(root, options.devkit)


def report(root: Path, devkit: str | None) -> None:
    """Measure and print a table."""
    built = run(sys.executable, BUILD, root)
    time.sleep(3)  # until the times of the new file can be trusted
    first = run(sys.executable, OPEN, root)
    opened = min((run(sys.executable, OPEN, root) for _ in range(3)), key=lambda one: one["seconds"])
    read = run(sys.executable, READ, root)
    print(f"\n| {int(opened['key_frames']):,} key frames | time | memory |\n|---|---|---|")
    print(f"| build, once | {built['seconds']:.0f} s | {built['peak_mb']:.0f} MB at most |")
    print(f"| index file | | {built['file_mb']:.0f} MB on disk |")
    grown = f"{opened['mb']:.0f} MB whole process, {opened['grown_mb']:.0f} MB of it by opening"
    print(f"| open, and validate its bytes | {first['seconds'] * 1e3:.0f} ms | |")
    print(f"| open | {opened['seconds'] * 1e3:.0f} ms | {grown} |")
    print(f"| first key frame | {read['first_ms']:.1f} ms | |")
    own = ", ".join(f"{mb:.0f}" for mb in read["own_mb"])  # type: ignore[attr-defined]
    record("index: opening one of trainval's size, seconds", opened["seconds"], at_most=0.1)
    print(f"| any key frame | {read['each_ms']:.2f} ms | own memory after 100, 1000, 4000, 8000: {own} MB |")
    if devkit:
        theirs = run(devkit, DEVKIT, root)
        print(f"| nuscenes-devkit, load | {theirs['seconds']:.0f} s | {theirs['peak_mb']:.0f} MB |")


if __name__ == "__main__":
    main()

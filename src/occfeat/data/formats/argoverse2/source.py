"""The Argoverse 2 sensor set as a data source. This module imports no torch."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from occfeat.data.formats.argoverse2 import lidar
from occfeat.data.formats.argoverse2.calibrated_sensors import STEREO
from occfeat.data.formats.argoverse2.folders import (
    CAMERA_FOLDER,
    LIDAR_FOLDER,
    MAP_FOLDER,
    TABLES,
    file_names,
    find_logs,
    folder_names,
    is_log,
)
from occfeat.data.formats.argoverse2.join import join
from occfeat.data.source.paths import resolve
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource, LayerMap, Taxonomy, hash_file, new_hash
from occfeat.data.source.splits import read_splits_file
from occfeat.data.source.sweep import Sweep
from occfeat.data.source.tables import Joined
from occfeat.errors import DatasetError, SettingsError

_SPLITS_FILE = "splits.json"

_HINTS = {
    "missing table": "Download this file of the log again, or remove the log.",
    "unreadable table": "Download this file of the log again, or remove the log.",
    "missing calibration": "Download the folder `calibration` of the log again. Until then, a camera without "
    "rows is left out of all key frames of the log, and a log without a camera cannot be used.",
    "missing pose": "Download city_SE3_egovehicle.feather of the log again: it has a pose for each file.",
    "missing annotations": "Pretraining needs none. Fine-tuning would take these logs for empty streets: "
    "download the files, or leave the logs out with a `splits.json`.",
    "missing image": "Download the folder `sensors/cameras` of these logs. Of a camera without any image, "
    "each is named after its key frame. A camera that has other images is black in such a key frame.",
    "missing LiDAR file": "Download the folder `sensors/lidar` of these logs. Fine-tuning and evaluation "
    "work without them.",
    "impossible file name": "These files are not read. Remove them, or restore their names.",
    "unknown camera": "This folder is not read. Remove it, or restore its name.",
    "incomplete log": "Download this log again, or remove its folder.",
    "empty log": "Download the folder `sensors/lidar` of this log, or remove the log.",
    "image of another size": "The table of intrinsics belongs to other images: download both again.",
}


class Argoverse2(DataSource):
    """A folder of logs, each with `calibration`, `sensors` and tables as feather files."""

    name = "argoverse2"
    taxonomy = Taxonomy(
        classes={
            "vehicle": (
                *("REGULAR_VEHICLE", "LARGE_VEHICLE", "TRUCK", "BOX_TRUCK", "BUS", "ARTICULATED_BUS"),
                *("SCHOOL_BUS", "RAILED_VEHICLE", "VEHICULAR_TRAILER", "MESSAGE_BOARD_TRAILER"),
                *("TRAFFIC_LIGHT_TRAILER", "BICYCL", "MOTORCYCL"),  # riders too, as in nuScenes' boxes
            ),
            "pedestrian": ("PEDESTRIAN", "OFFICIAL_SIGNALER", "STROLLER", "WHEEL"),
        },
        kinds={
            "car": ("REGULAR_VEHICLE",),
            "truck": ("LARGE_VEHICLE", "TRUCK", "BOX_TRUCK"),
            "bus": ("BUS", "ARTICULATED_BUS", "SCHOOL_BUS"),
            "trailer": ("VEHICULAR_TRAILER", "MESSAGE_BOARD_TRAILER", "TRAFFIC_LIGHT_TRAILER"),
            "two-wheeler": ("BICYCL", "MOTORCYCL"),
            "pedestrian": ("PEDESTRIAN", "OFFICIAL_SIGNALER", "STROLLER", "WHEEL"),
            "barrier": ("CONSTRUCTION_", "BOLLARD"),
        },
        others=("ANIMAL", "DOG", "SIGN", "STOP_SIGN", "MOBILE_PEDESTRIAN_"),
    )
    record = "moment"
    extra_channels = frozenset(STEREO)

    @classmethod
    def versions(cls, root: Path) -> Sequence[str]:
        """Return the folder itself if it holds logs, or folders of splits with logs."""
        return [""] if any(is_log(root / log.path) for log in find_logs(root)) else []

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return a hint which folder to give."""
        if is_log(root):
            return f"It is a log of Argoverse 2 itself: give its parent folder, {root.parent}."
        for name in folder_names(root):
            if cls.versions(root / name):
                return f"For Argoverse 2, give {root / name}."
        return "For Argoverse 2, give the folder of `train`, `val` and `test`, or a folder of logs."

    def files(self) -> dict[str, Path]:
        """Return the tables and folders of all logs. The names in a folder count, not its files."""
        found = {}
        if (own := self.root / _SPLITS_FILE).is_file():
            found["splits"] = own
        for log in find_logs(self.root):
            folder = self.root / log.path
            cameras = [f"{CAMERA_FOLDER}/{name}" for name in folder_names(folder / CAMERA_FOLDER)]
            for name in (*TABLES, LIDAR_FOLDER, MAP_FOLDER, *cameras):
                if (path := folder / name).exists():
                    found[f"{log.path}/{name}"] = path
        return found

    def hash_files(self) -> dict[str, str]:
        """Return the hash of each table, and of the names in each folder."""
        return {
            name: _hash_names(path) if path.is_dir() else hash_file(path)
            for name, path in self.files().items()
        }

    def require_files(self) -> None:
        """Refuse logs of the same name; whatever a log lacks is a fault of its key frames."""
        counts = Counter(log.name for log in find_logs(self.root))
        if again := [name for name, count in counts.items() if count > 1]:
            hint = "Remove one of them: their key frames would be in two splits."
            raise DatasetError(f"{self.root} has logs in more than one split.", first=again[:5], hint=hint)

    def splits(self) -> dict[str, tuple[str, ...]]:
        """Return the splits of `splits.json`, or the folders of the splits."""
        if (path := self.root / _SPLITS_FILE).is_file():
            return read_splits_file(path)
        found: dict[str, tuple[str, ...]] = {}
        for log in find_logs(self.root):
            if log.split:
                found[log.split] = (*found.get(log.split, ()), log.name)
        return found

    def join(self, on_bytes: Callable[[int], object]) -> Joined:
        """Read and join all logs."""
        return join(self.root, find_logs(self.root), on_bytes, self.hash_files())

    def read_sweep(self, path: Path) -> Sweep:
        """Return the content of a LiDAR file, in the ego frame."""
        return lidar.read_sweep(path)

    def read_map(self, place: Place, layers: Sequence[str]) -> LayerMap:
        """Return the map of a log."""
        from occfeat.data.formats.argoverse2.map_file import MAP_LAYERS, read_map_file

        if unknown := [layer for layer in layers if layer not in MAP_LAYERS]:
            hint = f"Layers: {', '.join(MAP_LAYERS)}."
            what = f"{', '.join(unknown)}: the maps of Argoverse 2 have no such layer."
            raise SettingsError(what, hint=hint)
        if place.base_map is None or not place.base_map.endswith(".json"):
            raise SettingsError(
                f"{', '.join(layers)}: no map in {self.root / (place.base_map or '')}; expected a file "
                "log_map_archive_*.json.",
                hint="Download the folder `map` of this log, or leave the log out with a `splits.json`.",
            )
        return read_map_file(resolve(self.root, place.base_map))

    def notes(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return a note on logs without a map."""
        without = [str(one.base_map) for one in places if not str(one.base_map).endswith(".json")]
        if not without:
            return ()
        return (f"{len(without)} logs have no map, and no map layers; the first: {without[0]}.",)

    def hints(self) -> Mapping[str, str]:
        """Return what to download again."""
        return _HINTS

    @property
    def token_file(self) -> Path:
        """The folder of the logs: a token is the name of a log and the time of a LiDAR file."""
        return self.root


def _hash_names(folder: Path) -> str:
    """Return a hash of the names in a folder."""
    digest = new_hash()
    digest.update("\0".join(file_names(folder)).encode(errors="surrogateescape"))
    return digest.hexdigest()

"""`NuScenesWriter`: write your own data set in nuScenes format."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np
from jaxtyping import Real

from occfeat.data.formats.nuscenes.writer.scene import SceneWriter, rows_file, rows_folder
from occfeat.data.formats.nuscenes.writer.tables import write_tables
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
    require_plain_name,
)
from occfeat.data.source.splits import ALL
from occfeat.errors import DatasetError, RunError
from occfeat.machine.atomic import lock_folder


class NuScenesWriter:
    """Writes a data set in nuScenes format, scene by scene.

    Images and points are written at once, by threads. The rows of a scene are written at its end, and the
    tables on `close`. The folder of tables is written atomically. Only the rows of one scene are in memory.

    To continue an interrupted build, repeat the same calls. Finished scenes are skipped, an unfinished one is
    rewritten, and the result is the same to the byte. A `with` block closes the writer unless it fails.

    Args:
        root: The data folder; created if missing.
        version: Name of the folder of tables, such as `v1.0-mine`.

    Raises:
        DatasetError: `version` cannot be the name of a folder.
        RunError: The data set is already complete, another process is writing to it, or it cannot be written.
    """

    def __init__(self, root: str | Path, version: str) -> None:
        require_plain_name("version", version)
        self._root, self._version = Path(root), version
        self._require_new()
        self._scene: SceneWriter | None = None
        self._splits: dict[str, str | None] = {}
        self._is_open = True
        folder = rows_folder(self._root, version)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "Check the folder's permissions, or choose another one."
            raise RunError(f"The folder {folder} cannot be created: {error}.", hint=hint) from error
        with ExitStack() as held:
            held.enter_context(lock_folder(folder))
            self._require_new()  # another process may have been faster
            self._held = held.pop_all()

    def _require_new(self) -> None:
        """Refuse a data set that is complete already."""
        if (self._root / self._version).exists():
            hint = "Choose another version or folder, or remove this one first."
            raise RunError(f"{self._root / self._version} already exists.", hint=hint)

    def add_scene(
        self,
        name: str,
        rig: CalibratedRig,
        *,
        split: str | None,
        log: RecordingLog | None = None,
        description: str = "",
    ) -> bool:
        """Begin a scene; end the previous one, if any.

        Args:
            name: Name of the scene.
            rig: Its sensors. Scenes with rigs of equal names share one calibration.
            split: Split of the scene, such as `train` or `val`. None: no split; if no scene has one,
                nuScenes' official lists of scene names apply.
            log: Where the scene was recorded, if known.
            description: Free text.

        Returns:
            Whether the scene must be written. False if an earlier build has finished it; its key frames and
            sweeps are then ignored and need not be added.

        Raises:
            DatasetError: The name is taken, a name is invalid, or the previous scene has no key frame.
            RunError: A file cannot be written.
        """
        self._end_scene()
        if name in self._splits:
            raise DatasetError(
                f"There are two scenes named {name!r}.", hint="Give every scene a unique name."
            )
        if split is not None and (not split or split == ALL):
            raise DatasetError(
                f"A split cannot be named {split!r}.", hint="Use `train`, `val` or any other name."
            )
        scene = SceneWriter(self._root, self._version, name, rig, log=log, description=description)
        self._splits[name] = split
        if rows_file(self._root, self._version, name).is_file():
            return False
        self._scene = scene
        return True

    def add_sweep(self, channel: str, pose: EgoPose, points: Real[np.ndarray, "P C"]) -> None:
        """Write a LiDAR sweep between key frames; see `SceneWriter.add_sweep`."""
        self._require_scene()
        if self._scene is not None:
            self._scene.add_sweep(channel, pose, points)

    def add_key_frame(
        self,
        pose: EgoPose,
        images: Mapping[str, CameraImage],
        sweeps: Mapping[str, LidarSweep] = MappingProxyType({}),
        boxes: Sequence[AnnotatedBox] = (),
    ) -> None:
        """Write a key frame; see `SceneWriter.add_key_frame`."""
        self._require_scene()
        if self._scene is not None:
            self._scene.add_key_frame(pose, images, sweeps, boxes)

    def close(self) -> None:
        """End the last scene and write the tables. Closing again has no effect.

        Raises:
            DatasetError: There is no scene or an empty one, scenes contradict each other, a base map is
            missing, or an earlier build finished scenes that were not added this time.
            RunError: The tables cannot be written.
        """
        if not self._is_open:
            return
        self._end_scene()
        self._check_scenes()
        splits: dict[str, list[str]] = {}
        for name, split in self._splits.items():
            if split is not None:
                splits.setdefault(split, []).append(name)
        write_tables(self._root, self._version, list(self._splits), splits)
        self._release()
        shutil.rmtree(rows_folder(self._root, self._version), ignore_errors=True)  # it contains the lock

    def __enter__(self) -> "NuScenesWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self.close()
            finally:
                self._release()
        else:
            self._release()

    def _release(self) -> None:
        """Let other processes write to the folder."""
        if self._scene is not None:
            self._scene.close()
        self._is_open = False
        self._held.close()

    def _require_scene(self) -> None:
        """Refuse data outside a scene."""
        if not self._is_open or not self._splits:
            hint = "Call `add_scene` first, and `close` last."
            raise RunError("Expected a scene to write to, got none.", hint=hint)

    def _end_scene(self) -> None:
        """Finish the current scene, if any."""
        if not self._is_open:
            raise RunError(f"The writer of {self._root / self._version} is closed.")
        if self._scene is not None:
            self._scene.finish()
            self._scene.close()
            self._scene = None

    def _check_scenes(self) -> None:
        """Refuse a data set without scenes, or without scenes that an earlier build finished."""
        if not self._splits:
            raise DatasetError("The data set has no scene.", hint="Call `add_scene` before `close`.")
        folder = rows_folder(self._root, self._version)
        others = sorted(path.stem for path in folder.glob("*.json") if path.stem not in self._splits)
        if others:
            raise DatasetError(
                f"{len(others)} scenes that an earlier build finished were not added this time.",
                first=others[:10],
                hint=f"Add them, too, or remove {folder} to start again.",
            )

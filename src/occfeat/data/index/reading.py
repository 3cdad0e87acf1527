"""Build a `KeyFrame` from one row of the memory-mapped index."""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.data.index.index_file import Metadata
from occfeat.data.keyframe import (
    Boxes,
    CameraRecord,
    EgoPath,
    KeyFrame,
    SweepRecord,
    transform_from_pose,
)
from occfeat.data.source.tables import is_pose
from occfeat.geometry.frames import invert, transform_points

_MOUNT = ("calibration", "ego_pose")
"""Fields of a sensor: its pose in the ego frame, and the pose of the ego frame at its time."""


def read_key_frame(
    table: pa.Table,
    metadata: Metadata,
    row: int,
    *,
    first_of_scene: int,
    sweeps: int,
    lidars: tuple[str, ...],
) -> KeyFrame:
    """Return a key frame of the index; see `Index.key_frame` for the arguments."""
    lists = table["sweeps"].chunk(0)
    chosen = _chosen_sweeps(lists, metadata, row, first_of_scene, sweeps, lidars)
    cameras, boxes = (_entries(table[name].chunk(0), row) for name in ("cameras", "boxes"))
    of_sweeps = lists.values.take(pa.array(chosen, pa.int64()))
    own, *mounts, global_from_box = _transforms(
        table["ego_pose"].chunk(0).slice(row, 1),
        *(cameras.field(name) for name in _MOUNT),
        *(of_sweeps.field(name) for name in _MOUNT),
        boxes.field("pose"),
    )
    ego_from_global = invert(own[0])
    scene = table["scene"][row].as_py()
    return KeyFrame(
        token=table["token"][row].as_py(),
        scene=metadata.scenes[scene],
        timestamp_us=table["timestamp_us"][row].as_py(),
        global_from_ego=own[0],
        place=metadata.places[scene],
        cameras=_cameras(cameras, metadata, ego_from_global, mounts[0], mounts[1]),
        faulty_cameras=_faulty_cameras(cameras, metadata),
        sweeps=_sweeps(of_sweeps, metadata, ego_from_global, mounts[2], mounts[3]),
        boxes=_boxes(boxes, metadata, ego_from_global, global_from_box),
    )


def read_sweeps_within(
    table: pa.Table,
    metadata: Metadata,
    row: int,
    *,
    scene_rows: tuple[int, int],
    window_us: int,
    lidars: tuple[str, ...],
) -> tuple[SweepRecord, ...]:
    """Return the sweeps of a scene around a key frame; see `Index.sweeps_within` for the arguments."""
    lists = table["sweeps"].chunk(0)
    begin, end = lists.offsets[scene_rows[0]].as_py(), lists.offsets[scene_rows[1]].as_py()
    entries = lists.values.slice(begin, end - begin)
    apart_us = entries.field("timestamp_us").to_numpy() - table["timestamp_us"][row].as_py()
    chosen = np.abs(apart_us) <= window_us
    if lidars:
        numbers = [number for number, name in enumerate(metadata.lidars) if name in lidars]
        chosen &= np.isin(entries.field("lidar").to_numpy(), numbers)
    inside = np.flatnonzero(chosen)
    by_time = inside[np.argsort(apart_us[inside], kind="stable")]
    near = entries.take(pa.array(by_time))
    own, *mount = _transforms(
        table["ego_pose"].chunk(0).slice(row, 1), *(near.field(name) for name in _MOUNT)
    )
    return _sweeps(near, metadata, invert(own[0]), *mount)


def read_path(table: pa.Table, row: int, *, scene_rows: tuple[int, int], window_us: int) -> EgoPath:
    """Return the poses of a scene around a key frame; see `Index.path` for the arguments."""
    (begin, end), lists = scene_rows, table["sweeps"].chunk(0)
    first, last = lists.offsets[begin].as_py(), lists.offsets[end].as_py()
    entries, key_times = lists.values, table["timestamp_us"].chunk(0).slice(begin, end - begin)
    sweep_times = entries.field("timestamp_us").slice(first, last - first)
    time_us = np.concatenate((key_times.to_numpy(), sweep_times.to_numpy()))
    pose = torch.cat(
        (
            _matrix(table["ego_pose"].chunk(0).slice(begin, end - begin)),
            _matrix(entries.field("ego_pose").slice(first, last - first)),
        )
    )
    apart_us, order = np.unique(time_us - table["timestamp_us"][row].as_py(), return_index=True)
    kept = (np.abs(apart_us) <= window_us) & is_pose(pose.numpy())[order]
    global_from_car = transform_from_pose(pose[order[kept]])
    ego_from_global = invert(transform_from_pose(pose[row - begin]))
    return EgoPath(torch.from_numpy(apart_us[kept] / 1e6), ego_from_global @ global_from_car)


def _cameras(
    entries: pa.StructArray,
    metadata: Metadata,
    ego_from_global: Float[Tensor, "4 4"],
    ego_from_camera: Float[Tensor, "n 4 4"],
    global_from_ego: Float[Tensor, "n 4 4"],
) -> tuple[CameraRecord, ...]:
    """Return the usable images of a key frame."""
    intrinsics = _matrix(entries.field("intrinsics")).reshape(-1, 3, 3)
    lidar_ego_from_camera = ego_from_global @ global_from_ego @ ego_from_camera
    channel, token, path, height, width, lens, fault = _values(
        entries, "channel", "token", "path", "height", "width", "lens", "fault"
    )
    return tuple(
        CameraRecord(
            channel=metadata.channels[channel[i]],
            token=token[i],
            path=path[i],
            size=(height[i], width[i]),
            intrinsics=intrinsics[i],
            lidar_ego_from_camera=lidar_ego_from_camera[i],
            camera_ego_from_camera=ego_from_camera[i],
            lens=metadata.lenses[lens[i]],
        )
        for i in range(len(entries))
        if not fault[i]
    )


def _faulty_cameras(entries: pa.StructArray, metadata: Metadata) -> dict[str, str]:
    """Return what is wrong with the unusable images of a key frame, by camera."""
    channel, fault = _values(entries, "channel", "fault")
    return {metadata.channels[i]: message for i, message in zip(channel, fault, strict=True) if message}


def _chosen_sweeps(
    lists: pa.ListArray,
    metadata: Metadata,
    row: int,
    first_of_scene: int,
    count: int,
    lidars: tuple[str, ...],
) -> list[int]:
    """Return the entries of a key frame's own sweeps and earlier ones of its scene, latest first by LiDAR."""
    begin, (own, end) = _bounds(lists, first_of_scene)[0], _bounds(lists, row)
    lidar = lists.values.field("lidar").slice(begin, end - begin).to_numpy()
    is_key = lists.values.field("is_key").slice(begin, end - begin).to_numpy(zero_copy_only=False)
    chosen: list[int] = []
    for number, name in enumerate(metadata.lidars):
        here = np.flatnonzero(lidar == number)
        if (not lidars or name in lidars) and is_key[here[here >= own - begin]].any():
            chosen += (begin + here[::-1][:count]).tolist()
    return chosen


def _sweeps(
    entries: pa.StructArray,
    metadata: Metadata,
    ego_from_global: Float[Tensor, "4 4"],
    ego_from_lidar: Float[Tensor, "n 4 4"],
    global_from_ego: Float[Tensor, "n 4 4"],
) -> tuple[SweepRecord, ...]:
    """Return some entries as sweeps."""
    ego_from_lidar = ego_from_global @ global_from_ego @ ego_from_lidar
    token, path, lidar, timestamp_us, is_key = _values(
        entries, "token", "path", "lidar", "timestamp_us", "is_key"
    )
    return tuple(
        SweepRecord(
            token=token[i],
            path=path[i],
            lidar=metadata.lidars[lidar[i]],
            timestamp_us=timestamp_us[i],
            is_key=is_key[i],
            ego_from_lidar=ego_from_lidar[i],
        )
        for i in range(len(entries))
    )


def _boxes(
    entries: pa.StructArray,
    metadata: Metadata,
    ego_from_global: Float[Tensor, "4 4"],
    global_from_box: Float[Tensor, "n 4 4"],
) -> Boxes:
    """Return the boxes of a key frame in its ego frame."""
    ego_from_box = ego_from_global @ global_from_box
    token, category = _values(entries, "token", "category")
    return Boxes(
        tokens=tuple(token),
        category=tuple(metadata.categories[number] for number in category),
        center_ego=transform_points(ego_from_global, global_from_box[:, :3, 3]),
        size_m=_matrix(entries.field("size_m")),
        ego_from_box=ego_from_box[:, :3, :3],
        visibility=_numbers(entries.field("visibility")),
        lidar_points=_numbers(entries.field("lidar_points")),
        speed_mps=torch.from_numpy(entries.field("speed_mps").to_numpy().copy()),
    )


def _entries(lists: pa.ListArray, row: int) -> pa.StructArray:
    """Return the entries of a row."""
    begin, end = _bounds(lists, row)
    return lists.values.slice(begin, end - begin)


def _bounds(lists: pa.ListArray, row: int) -> tuple[int, int]:
    """Return the range of a row's entries."""
    return lists.offsets[row].as_py(), lists.offsets[row + 1].as_py()


def _values(entries: pa.StructArray, *names: str) -> list[list[Any]]:
    """Return some fields of entries as Python values."""
    return [entries.field(name).to_pylist() for name in names]


def _transforms(*poses: pa.FixedSizeListArray) -> tuple[Float[Tensor, "_ 4 4"], ...]:
    """Return the transforms of several lists of poses, made at once: a tensor costs more than its numbers."""
    joined = transform_from_pose(torch.cat([_matrix(one) for one in poses]))
    return torch.split(joined, [len(one) for one in poses])


def _matrix(vectors: pa.FixedSizeListArray) -> Float[Tensor, "n k"]:
    """Return a copy of some vectors of the memory-mapped file."""
    width = vectors.type.list_size
    values = vectors.values.slice(vectors.offset * width, len(vectors) * width).to_numpy()
    return torch.from_numpy(values.reshape(-1, width).copy())


def _numbers(column: pa.Array) -> Any:
    """Return a copy of some integers of the memory-mapped file."""
    return torch.from_numpy(column.to_numpy().astype(np.int64))

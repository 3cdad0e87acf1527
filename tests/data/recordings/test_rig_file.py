"""Rig files: complete ones are read, others are refused by name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from occfeat.data.recordings.rig_file import FramePoses, KittiPoses, RigFile, read_rig_file
from occfeat.errors import SettingsError

WHOLE: dict[str, Any] = {
    "base_frame": "base_link",
    "cameras": {"CAM_FRONT": {"topic": "/front/image_raw/compressed", "info": "/front/camera_info"}},
    "lidars": {"LIDAR_TOP": {"topic": "/points", "deskew": False}},
    "poses": {"source": "tf", "global_frame": "map"},
    "key_frames": {"rate_hz": 5, "missing_cameras": "drop"},
    "splits": {"by": "recording", "shares": {"train": 0.5, "val": 0.5}},
}


class Plain(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "rig.yaml"
    path.write_text(
        content if isinstance(content, str) else yaml.dump(content, Dumper=Plain, sort_keys=False)
    )
    return path


def test_rig_file__is_read(tmp_path: Path) -> None:
    rig = read_rig_file(written(tmp_path, WHOLE))
    assert rig.poses == FramePoses(source="tf", global_frame="map")
    assert rig.cameras["CAM_FRONT"].delay_ms == 0
    assert rig.lidars["LIDAR_TOP"].deskew is False
    assert (rig.key_frames.rate_hz, rig.key_frames.jitter_ms, rig.reference) == (5, 50, "LIDAR_TOP")
    assert rig.splits.shares == {"train": 0.5, "val": 0.5}
    assert RigFile.model_validate(rig.model_dump(mode="json")) == rig


def test_paths__are_relative_to_the_rig_file(tmp_path: Path) -> None:
    poses = {"source": "kitti", "file": "poses.txt", "times": "times.txt"}
    rig = read_rig_file(written(tmp_path, {**WHOLE, "poses": poses}))
    assert rig.poses == KittiPoses(source="kitti", file=tmp_path / "poses.txt", times=tmp_path / "times.txt")


CAMERA = WHOLE["cameras"]["CAM_FRONT"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_frme": "x"}, r"Unknown setting: base_frme \(did you mean base_frame\?\)"),
        ({"cameras": {"CAM": {**CAMERA, "topik": "x"}}}, r"Unknown setting: cameras\.CAM\.topik"),
        ({"cameras": {"CAM": {"topic": "/a"}}}, "expected either info, a topic of CameraInfo, or intrinsics"),
        ({"cameras": {"CAM": {**CAMERA, "lens": {"model": "pinhole"}}}}, "expected intrinsics with lens"),
        ({"cameras": {"../CAM": CAMERA}}, "expected the name of a folder"),
        ({"cameras": {"A": CAMERA, "B": CAMERA}}, "expected every topic once"),
        ({"cameras": {"LIDAR_TOP": CAMERA}}, "expected every channel once, got LIDAR_TOP twice"),
        ({"cameras": {}, "lidars": {}}, "expected a camera or a LiDAR"),
        ({"poses": {"source": "gps"}}, "poses: .*'tf'"),
        ({"poses": {"source": "tum"}}, r"Missing setting: poses\.tum\.file"),
        (
            {"poses": {"source": "kiss-icp", "lidar": "LIDAR"}},
            "expected poses.lidar to be a LiDAR",
        ),
        ({"key_frames": {"rate_hz": 20}}, r"key_frames\.rate_hz: .*less than or equal to 10"),
        ({"key_frames": {"reference": "CAM"}}, "expected key_frames.reference to be a channel"),
        ({"key_frames": {"jitter_ms": float("nan")}}, r"key_frames\.jitter_ms"),
        ({"car": {"lower_m": [0, 0, 0]}}, "expected both lower_m and upper_m"),
        ({"car": {"lower_m": [0, 0, 0], "upper_m": [1, 1, 0]}}, "expected each of lower_m below"),
        ({"splits": {"shares": {"train": 0.5}}}, "expected shares that add up to 1, got 0.5"),
        ({"splits": {"shares": {"all": 1}}}, "expected a name such as train"),
    ],
)
def test_rig_file__that_cannot_be_used__is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=rf"(?s)rig\.yaml cannot be used.*{said}"):
        read_rig_file(written(tmp_path, {**WHOLE, **change}))


@pytest.mark.parametrize("content", ["- a", "", "base_frame: a\nbase_frame: b", "!!python/name:os.system"])
def test_rig_file__of_other_yaml__is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(SettingsError, match=r"rig\.yaml"):
        read_rig_file(written(tmp_path, content))

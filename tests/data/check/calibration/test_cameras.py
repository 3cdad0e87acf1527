"""Every camera of every rig of the street world passes as it is, and is named once it is spoiled."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from occfeat.data.check.calibration.cameras import Calibration, fault_of, faults_of_order
from occfeat.geometry.frames import invert
from streetworld.rigs import RIGS, Camera

SIZE = (450, 800)
CAMERAS = [(name, camera) for name, rig in RIGS.items() for camera in rig.cameras]
IDS = [f"{name}-{camera.channel}" for name, camera in CAMERAS]


def calibration(camera: Camera) -> Calibration:
    return Calibration(
        camera.channel,
        camera.image_size(SIZE),
        torch.from_numpy(camera.intrinsics(SIZE)),
        torch.from_numpy(camera.ego_from_camera),
        camera.lens,
    )


def in_millimetres(one: Calibration) -> Calibration:
    pose = one.ego_from_camera.clone()
    pose[:3, 3] *= 1000
    return replace(one, ego_from_camera=pose)


def inverse(one: Calibration) -> Calibration:
    return replace(one, ego_from_camera=invert(one.ego_from_camera))


def normalised(one: Calibration) -> Calibration:
    scale = torch.diag(torch.tensor([1 / one.size[1], 1 / one.size[0], 1.0]).double())
    return replace(one, intrinsics=scale @ one.intrinsics)


@pytest.mark.parametrize("camera", [camera for _, camera in CAMERAS], ids=IDS)
@pytest.mark.parametrize("change", [in_millimetres, inverse, normalised])
def test_fault__is_found_where_one_was_put(
    camera: Camera, change: Callable[[Calibration], Calibration]
) -> None:
    assert fault_of(calibration(camera)) == ""
    assert fault_of(change(calibration(camera)))


@pytest.mark.parametrize("name", RIGS)
def test_rigs__as_they_are_mounted_pass(name: str) -> None:
    for seed in range(5):
        rig = RIGS[name].calibrated(np.random.default_rng(seed))
        assert [fault_of(calibration(camera)) for camera in rig.cameras] == [""] * len(rig.cameras)
        yaw_rad = {camera.channel: math.radians(camera.yaw_deg) for camera in rig.cameras}
        assert list(faults_of_order(yaw_rad)) == []

"""A scene: a street with everybody in it, and what the sensors make of it at any moment.

The scene's frame is the town's, moved by a whole number of metres so that single precision suffices.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from occfeat.geometry.lens import PINHOLE
from streetworld.actors.actors import Mover, direct, ego_pose, enlist
from streetworld.actors.traffic import Motion, Signals
from streetworld.layout.placement import add_traffic_lights, build_street
from streetworld.rendering.ground_maps import GroundMap, contact_map, lamp_map
from streetworld.rendering.labels import Label, Pose, View, label
from streetworld.rendering.lidar import Sweep, take_sweep
from streetworld.rendering.light import Light, draw_light
from streetworld.rendering.sensors import take_shot
from streetworld.rendering.shading import Lighting
from streetworld.rendering.tracer import Stage, Tracer, Triangles
from streetworld.request import SceneRequest
from streetworld.rigs import Camera, Rig
from streetworld.things.materials import Material
from streetworld.things.objects import Annotation, Appearance
from streetworld.things.shapes import Mesh, join, place
from streetworld.things.texture_parameters import SignalParameters, columns
from streetworld.town.lots import plan_town

KEY_FRAME_S = 0.5
"""Time between key frames."""
REVOLUTION_S = 0.05
"""Time the LiDAR takes to turn once, clockwise."""
LAST_YAW_DEG = 104.0
"""Where the LiDAR looks at its time stamp, counter-clockwise from forward."""
HEADLIGHTS = 5
"""How many vehicles light the scene: the ego vehicle and those nearest to it."""
HEADLIGHT_REACH_M = 35.0
"""Vehicles farther from the ego vehicle than this light nothing."""
VIEW_M = 110.0
"""How far moving things are drawn."""
LABEL_REACH_M = 80.0
"""Objects farther from the LiDAR than this are not labelled."""


@dataclass(frozen=True)
class Scene:
    """A street, ready to be looked at."""

    request: SceneRequest
    rig: Rig
    origin_m: Float[np.ndarray, "3"]
    """Origin of the scene's frame in the town's."""
    still: Tracer
    appearance: Appearance
    annotations: dict[int, Annotation]
    poses: dict[int, Pose]
    """Poses, in the town's frame, of labelled things that stand still."""
    movers: tuple[Mover, ...]
    ego: Motion
    signals: Signals
    light_name: str
    light: Light
    contact: GroundMap
    lamps: GroundMap

    def camera_delay_s(self, camera: Camera) -> float:
        """Return the time of a camera after the LiDAR's time stamp: it fires as the LiDAR looks its way.

        A revolution ends just past the rear left camera of nuScenes; the delays are -50 to 0 ms, as there.
        """
        return -REVOLUTION_S * (((camera.yaw_deg - LAST_YAW_DEG) % 360) / 360)

    def global_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """Return the pose of the ego vehicle in the town's frame."""
        return ego_pose(self.ego, time_s)

    def scene_from_lidar(self, time_s: float, number: int = 0) -> Float[np.ndarray, "4 4"]:
        """Return the pose of a LiDAR of the rig in the scene's frame."""
        return self._scene_from_sensor(time_s, self.rig.lidars[number].ego_from_lidar)

    def _scene_from_sensor(
        self, time_s: float, ego_from_sensor: Float[np.ndarray, "4 4"]
    ) -> Float[np.ndarray, "4 4"]:
        """Return the pose of a sensor in the scene's frame."""
        pose = self.global_from_ego(time_s) @ ego_from_sensor
        pose[:3, 3] -= self.origin_m
        return pose

    @cached_property
    def _origin_xy(self) -> tuple[float, float]:
        """Origin of the scene's frame as plain numbers, which poses are made from many times."""
        return float(self.origin_m[0]), float(self.origin_m[1])

    def pose_of(self, mover: Mover, time_s: float) -> Pose:
        """Return the pose of something that moves in the scene's frame."""
        pose = mover.pose(time_s)
        x, y = self._origin_xy
        return Pose(pose.x - x, pose.y - y, pose.z, pose.yaw_rad)

    def look(self, camera: Camera, frame: int) -> View:
        """Photograph key frame `frame` with a camera, at the camera's own time."""
        time_s = frame * KEY_FRAME_S + self.camera_delay_s(camera)
        scene_from_camera = self._scene_from_sensor(time_s, camera.ego_from_camera)
        forward = scene_from_camera[:3, 2]
        optics = camera.optics(self.request.image_size)
        half_view = math.radians(min(camera.view_deg / 2 + 12, 100))
        if camera.lens != PINHOLE:
            half_view = optics.widest_rad
        stage = self._stage(time_s, scene_from_camera[:3, 3], forward, half_view)
        rng = self.request.rng(3, frame, self.rig.cameras.index(camera))
        lighting, appearance = self._lighting(time_s), self._appearance(time_s)
        shot = take_shot(stage, lighting, appearance, scene_from_camera, optics, rng)
        return View(shot, scene_from_camera, optics)

    def scan(self, time_s: float, number: int = 0) -> Sweep:
        """Turn a LiDAR of the rig once."""
        scene_from_lidar = self.scene_from_lidar(time_s, number)
        stage = self._stage(time_s, scene_from_lidar[:3, 3], None, math.pi)
        rng = self.request.rng(4, round((time_s + 10) * 1000), *([number] if number else []))
        on_roof = number == 0
        return take_sweep(stage, self.appearance, self.light, scene_from_lidar, rng, on_roof=on_roof)

    def labels(self, frame: int, views: list[View], sweeps: Sequence[Sweep]) -> list[Label]:
        """Return all labels of a key frame, in the scene's frame.

        Args:
            frame: The key frame.
            views: What each camera sees.
            sweeps: What each LiDAR sees, in the order of the rig.
        """
        time_s = frame * KEY_FRAME_S
        seen = []
        for number, sweep in enumerate(sweeps):
            scene_from_lidar = self.scene_from_lidar(time_s, number)
            seen.append(sweep.points[:, :3] @ scene_from_lidar[:3, :3].T + scene_from_lidar[:3, 3])
        points, ego = np.asfortranarray(np.concatenate(seen)), self.scene_from_lidar(time_s)[:2, 3]
        times = [time_s + self.camera_delay_s(camera) for camera in self.rig.cameras]
        found = []
        for number, pose in self.poses.items():
            at = replace(pose, x=pose.x - float(self.origin_m[0]), y=pose.y - float(self.origin_m[1]))
            if math.hypot(at.x - ego[0], at.y - ego[1]) < LABEL_REACH_M:
                annotation = self.annotations[number]
                drawn = [(at, annotation.mesh)] * len(views)
                found.append(label(number, annotation, at, drawn, views, points))
        for mover in self.movers:
            at = self.pose_of(mover, time_s)
            if math.hypot(at.x - ego[0], at.y - ego[1]) < LABEL_REACH_M:
                drawn = [(self.pose_of(mover, time), mover.mesh(time)) for time in times]
                found.append(label(mover.object_id, mover.annotation, at, drawn, views, points))
        return [one for one in found if one is not None]

    def _stage(
        self,
        time_s: float,
        origin: Float[np.ndarray, "3"],
        forward: Float[np.ndarray, "3"] | None,
        half_view_rad: float,
    ) -> Stage:
        """Return the scene at a moment, with those movers that a sensor may see."""
        meshes, templates, spheres = [], [], []
        for mover in self.movers:
            pose = self.pose_of(mover, time_s)
            size = mover.annotation.size_m
            radius = math.hypot(*size) / 2 + 0.3
            center = np.array([pose.x, pose.y, pose.z + size[2] / 2])
            toward = center - origin
            distance = float(np.linalg.norm(toward))
            if distance > VIEW_M:
                continue
            if forward is not None and distance > radius + 1:
                angle = math.acos(float(np.clip(toward @ forward / distance, -1, 1)))
                if angle - math.asin(min(1.0, radius / distance)) > half_view_rad:
                    continue
            position = (pose.x, pose.y, pose.z)
            templates.append(mover.mesh(time_s))
            meshes.append(
                place(
                    templates[-1], position, yaw_rad=pose.yaw_rad, scale=mover.annotation.scale,
                    object_id=mover.object_id,
                )
            )  # fmt: skip
            spheres.append((*center, radius))
        moving = Tracer(join(meshes), _weld(meshes, templates)) if meshes else None
        return Stage(self.still, moving, np.array(spheres).reshape(-1, 4))

    def _lighting(self, time_s: float) -> Lighting:
        """Return what lights the scene at a moment, and the boxes that shade the ground."""
        ego = self.global_from_ego(time_s)
        heading = math.atan2(ego[1, 0], ego[0, 0])
        x, y = ego[:2, 3] - self.origin_m[:2] + 2.4 * np.array([math.cos(heading), math.sin(heading)])
        vehicles = [
            (math.hypot(pose.x - x, pose.y - y), pose, mover.annotation)
            for mover in self.movers
            if not mover.person
            for pose in [self.pose_of(mover, time_s)]
        ]
        boxes = [
            (pose.x, pose.y, pose.yaw_rad, one.size_m[0] / 2, one.size_m[1] / 2)
            for distance, pose, one in vehicles
            if distance <= 60 and one.category not in ("vehicle.bicycle", "vehicle.motorcycle")
        ]
        headlights = [(x, y, heading, 1.0)]
        if self.light.lamps > 0.2:
            near = sorted((one for one in vehicles if one[0] < HEADLIGHT_REACH_M), key=lambda one: one[0])
            headlights += [_headlight(pose, one.size_m[0] / 2) for _, pose, one in near[: HEADLIGHTS - 1]]
        return Lighting(
            self.light, self.contact, self.lamps, np.array(headlights), np.array(boxes).reshape(-1, 5)
        )

    def _appearance(self, time_s: float) -> Appearance:
        """Return the colours with the traffic lights as they are."""
        parameters = self.appearance.parameters.copy()
        for number in self._signal_objects:
            signal = columns(SignalParameters, parameters[:, number])
            state = self.signals.state(int(signal.junction), int(signal.arm), time_s)
            parameters[: len(astuple(signal)), number] = astuple(replace(signal, state=state))
        return replace(self.appearance, parameters=parameters)

    @cached_property
    def _signal_objects(self) -> list[int]:
        """Numbers of the traffic lights among the objects."""
        mesh = self.still.mesh
        return [int(number) for number in np.unique(mesh.object_id[mesh.material == Material.SIGNAL])]


def _weld(meshes: Sequence[Mesh], templates: Sequence[Mesh]) -> Triangles:
    """Return the triangles of placed templates, of one vertex at each place."""
    welds = [template.welded for template in templates]
    starts = np.cumsum([0] + [len(first) for first, _ in welds[:-1]])
    return (
        np.concatenate([mesh.vertices[first] for mesh, (first, _) in zip(meshes, welds, strict=True)]),
        np.concatenate(
            [faces + start for (_, faces), start in zip(welds, starts, strict=True)], dtype=np.int32
        ),
    )


def _headlight(pose: Pose, front_m: float) -> tuple[float, float, float, float]:
    """Return (x, y, direction, strength) of the headlights of a vehicle in traffic."""
    x = pose.x + front_m * math.cos(pose.yaw_rad)
    return x, pose.y + front_m * math.sin(pose.yaw_rad), pose.yaw_rad, 0.6


def build_scene(request: SceneRequest) -> Scene:
    """Make a scene from its request."""
    plan = plan_town(request.town)
    duration = (request.key_frames - 1) * KEY_FRAME_S + 0.3
    cast = direct(plan.network, request.rng(1), duration)
    times = np.arange(-0.5, duration + 0.5, 0.5)
    route = np.array([cast.ego.at(float(time))[:2] for time in times])
    street = build_street(plan, route, request.rng(2))
    add_traffic_lights(street)
    movers = enlist(cast, street.objects, request.rng(5))
    origin = np.append(np.rint(route.mean(axis=0)), 0.0)
    mesh = join(street.meshes)
    still = Tracer(replace(mesh, vertices=mesh.vertices - origin.astype(np.float32)))
    name, light = draw_light(request.rng(6), request.lights)
    local_route = route - origin[:2]
    annotations = dict(street.objects.annotations)
    annotations.update({mover.object_id: mover.annotation for mover in movers})
    return Scene(
        request=request,
        rig=request.mounted_rig(),
        origin_m=origin,
        still=still,
        appearance=street.objects.appearance(),
        annotations=annotations,
        poses={number: Pose(*pose) for number, pose in street.objects.poses.items()},
        movers=movers,
        ego=cast.ego,
        signals=cast.signals,
        light_name=name,
        light=light,
        contact=contact_map(still, local_route),
        lamps=lamp_map(np.array(street.lamps).reshape(-1, 2) - origin[:2], local_route),
    )

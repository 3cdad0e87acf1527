"""A pretraining step beside the plain one: time, memory, agreement, and where the time goes.

    python -m benchmarks.training.step

SimpleBEV with EfficientNet-B0, six images of 224 x 400, 200 x 200 x 8 voxels, batch 1, 384-wide features: the
package's step with the teacher's maps cached, and `plain.py`'s with its teacher in the loop (the packaged one
at 224 x 392). Encoder, lifting, BEV encoder, head, targets, losses and backward are all in. Time: alternating
repeats, medians, the range of the ratio. Memory: peak resident size of a fresh process that takes two steps,
less that of one that only builds the same networks.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import arguments, growth_mb, in_fresh_process, in_turn, ratio, record
from benchmarks.models.lifting import grid, surround_rig
from benchmarks.training.plain import PlainStep
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import TeacherImages, TeacherMaps
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.students.build import Student, build_student
from occfeat.models.students.simplebev import SimpleBev
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.settings.sections import HeadConfig, PretrainLossConfig, TeacherConfig
from occfeat.settings.students import SimpleBevConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.cache import encode
from occfeat.teacher.network import Teacher

WAYS = ("package", "plain")
TEACHER_SIZE, POINTS, WEIGHT, WIDTH = (224, 392), 34_688, 0.01, 384
Step = Callable[[], Tensor]


def sample_batch() -> Batch:
    """Noise images; returns on the ground and on walls, as many as a sweep of nuScenes has."""
    random = torch.Generator().manual_seed(0)
    rig = surround_rig()
    azimuth, share = 6.2832 * torch.rand(POINTS, generator=random), torch.rand(POINTS, generator=random)
    range_m = 3 + 45 * share**2
    height_m = torch.where(share < 0.7, 0.0, 3 * torch.rand(POINTS, generator=random))
    points = torch.stack((range_m * azimuth.cos(), range_m * azimuth.sin(), height_m), dim=1)
    noise = torch.randint(0, 256, (1, 6, 3, *rig.image_size), generator=random, dtype=torch.uint8)
    return Batch(
        tokens=("frame",),
        images=noise,
        cameras=rig,
        teacher=TeacherImages(
            noise[..., : TEACHER_SIZE[1]].contiguous(),
            Cameras(rig.intrinsics, rig.ego_from_camera, rig.present, TEACHER_SIZE),
        ),
        points=Points.of_one_key_frame(points, torch.tensor((0.9, 0.0, 1.8)).expand(POINTS, 3)),
    )


def pretraining_network(
    student: Student,
    voxels: VoxelGrid,
    loss: PretrainLossConfig = PretrainLossConfig(),  # noqa: B008 - settings cannot be changed
    head: HeadConfig = HeadConfig(),  # noqa: B008
) -> PretrainingNetwork:
    """Build the head of a student that distils the packaged teacher; ready to train."""
    objectives = build_objectives(loss, head=head)
    sees = TeacherShape((WIDTH,))
    network = PretrainingNetwork(student, objectives, heights=voxels.shape[2], head=head, teacher=sees)
    return network.train()


def networks() -> tuple[PretrainingNetwork, Teacher]:
    """Build the same random network every time, and the packaged teacher."""
    torch.manual_seed(0)
    student = build_student(SimpleBevConfig(backbone_weights="none"), grid())
    assert isinstance(student, SimpleBev)
    teacher = build_teacher(TeacherConfig(name="packaged", image_size=TEACHER_SIZE))
    return pretraining_network(student, grid(), PretrainLossConfig(features=WEIGHT)), teacher


def cached_batch() -> Batch:
    """Return the batch with what the packaged teacher sees in it, in place of its images."""
    batch = sample_batch()
    given = batch.teacher
    assert isinstance(given, TeacherImages)
    teacher = build_teacher(TeacherConfig(name="packaged", image_size=TEACHER_SIZE))
    maps = encode(teacher(given.images.flatten(0, 1)).unflatten(0, (1, 6)), "int8")
    return replace(batch, teacher=TeacherMaps(maps, given.cameras))


def step_of(way: str) -> Step:
    """Loss of a forward pass, ready for backward; the same weights and the same batch."""
    network, teacher = networks()
    if way == "plain":
        plain, batch = PlainStep(network, teacher, WEIGHT).train(), sample_batch()
        return lambda: plain(batch)
    cached, maker = cached_batch(), TargetMaker(network.objectives, grid())
    return lambda: network(cached, maker(cached)).loss


def seconds(step: Step) -> float:
    """Time of forward and backward."""
    start = time.perf_counter()
    step().backward()
    return time.perf_counter() - start


def memory_mb(way: str) -> float:
    """In a fresh process: growth of the peak resident size over two steps."""
    step = step_of(way)
    return growth_mb(lambda: [seconds(step) for _ in range(2)])


def shares(step: Step) -> dict[str, float]:
    """Return where the time of a step goes, by operator, the largest first."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step().backward()
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    return {name: time / total for name, time in sorted(times.items(), key=lambda pair: -pair[1])}


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    memory = {way: in_fresh_process(__file__, "--memory", way)[0] for way in WAYS}
    steps = {way: step_of(way) for way in WAYS}
    losses = [float(steps[way]().detach()) for way in WAYS]
    times = in_turn({way: partial(seconds, steps[way]) for way in WAYS}, repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| pretraining step | s | extra memory MB |")
    print("|---|---|---|")
    for way in WAYS:
        print(f"| {way} | {statistics.median(times[way]):.2f} | {memory[way]:.0f} |")
    faster, share = ratio(times["plain"], times["package"]), memory["package"] / memory["plain"]
    print(f"\n{faster} as fast, {share:.2f} of the memory")
    print(f"\nlosses: {losses[0]:.5f} and {losses[1]:.5f}")
    operators = shares(steps["package"])
    print("\n| operator | share of the package's step |\n|---|---|")
    for name in list(operators)[:8]:
        print(f"| {name} | {operators[name]:.0%} |")
    convolutions = sum(part for name, part in operators.items() if "conv" in name and "aten::" in name)
    print(f"\nconvolutions, all operators: {convolutions:.1%}")
    spread = (faster.low, faster.high)
    record("pretraining step: times as fast as plain", faster.median, at_least=3, spread=spread)
    record("pretraining step: share of plain's memory", share, at_most=1 / 3)
    record("pretraining step: share of convolutions", convolutions, at_least=0.8)


if __name__ == "__main__":
    given = arguments(__doc__, 5, WAYS)
    if given.memory:
        print(memory_mb(given.memory))
    else:
        main(given.repeats)

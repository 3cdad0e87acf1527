"""A pretraining step beside the plain one: time, memory, agreement, and where the time goes.

    python benchmarks/step.py

SimpleBEV with EfficientNet-B0, six images of 224 x 400, 200 x 200 x 8 voxels, batch 1, 384-wide features: the
package's step with the teacher's maps cached, and `plain.py`'s with its teacher in the loop (the packaged one
at 224 x 392). Encoder, lifting, BEV encoder, head, targets, losses and backward are all in. Time: alternating
repeats, medians, the range of the ratio. Memory: peak resident size of a fresh process that takes two steps,
less that of one that only builds the same networks.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from lifting import grid, surround_rig
from plain import PlainStep
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from occfeat.config import HeadConfig, PretrainLossConfig, SimpleBevConfig, TeacherConfig
from occfeat.data.sample import Batch, Cameras
from occfeat.data.teacher_cache import encode
from occfeat.models.simplebev import SimpleBev
from occfeat.models.student import build_student
from occfeat.models.teacher import Teacher, build_teacher
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.task import PretrainingNetwork, TargetMaker

WAYS = ("package", "plain")
TEACHER_SIZE, POINTS, WEIGHT = (224, 392), 34_688, 0.01
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
        teacher_images=noise[..., : TEACHER_SIZE[1]].contiguous(),
        teacher_cameras=Cameras(rig.intrinsics, rig.ego_from_camera, rig.present, TEACHER_SIZE),
        points_ego=points,
        points_key_frame=torch.zeros(POINTS, dtype=torch.int64),
    )


def networks() -> tuple[SimpleBev, PretrainingHead, Teacher]:
    """The same random student and head every time, and the packaged teacher."""
    torch.manual_seed(0)
    student = build_student(SimpleBevConfig(backbone_weights="none"), grid())
    assert isinstance(student, SimpleBev)
    teacher = build_teacher(TeacherConfig(name="packaged", image_size=TEACHER_SIZE))
    return student, PretrainingHead(student.channels, 8, teacher.channels, HeadConfig()), teacher


def step_of(way: str) -> Step:
    """Loss of a forward pass, ready for backward; the same weights and the same batch."""
    (student, head, teacher), batch = networks(), sample_batch()
    if way == "plain":
        plain = PlainStep(student, head, teacher, WEIGHT).train()
        return lambda: plain(batch)
    assert batch.teacher_images is not None
    maps = encode(teacher(batch.teacher_images.flatten(0, 1)).unflatten(0, (1, 6)), "int8")
    cached = replace(batch, teacher_images=None, teacher_maps=maps)
    network = PretrainingNetwork(student, head, PretrainLossConfig(features=WEIGHT)).train()
    maker = TargetMaker(grid(), None)
    return lambda: network(cached, maker(cached)).loss


def seconds(step: Step) -> float:
    """Time of forward and backward."""
    start = time.perf_counter()
    step().backward()
    return time.perf_counter() - start


def measure_memory(way: str) -> None:
    """In a fresh process: print the growth of the peak resident size over two steps, in MB."""
    step = step_of(way)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        seconds(step)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown / (1024 * 1024 if sys.platform == "darwin" else 1024))


def memory_mb(way: str) -> float:
    command = [sys.executable, __file__, "--memory", way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shares(step: Step) -> str:
    """Where the time of a step goes, by operator."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step().backward()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    largest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
    return "\n".join(f"| {event.key} | {event.self_cpu_time_total / total:.0%} |" for event in largest)


def main(repeats: int) -> None:
    memory = {way: memory_mb(way) for way in WAYS}  # first: a process inherits the peak of its parent
    steps = {way: step_of(way) for way in WAYS}
    losses = [float(steps[way]().detach()) for way in WAYS]
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            times[way].append(seconds(steps[way]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| pretraining step | s | extra memory MB |")
    print("|---|---|---|")
    for way in WAYS:
        print(f"| {way} | {statistics.median(times[way]):.2f} | {memory[way]:.0f} |")
    ratios = sorted(slow / fast for fast, slow in zip(*times.values(), strict=True))
    print(f"\n{statistics.median(ratios):.1f}x as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"\nmemory: {memory['plain'] / memory['package']:.1f} times less")
    print(f"\nlosses: {losses[0]:.5f} and {losses[1]:.5f}")
    print(f"\n| operator | share of the package's step |\n|---|---|\n{shares(steps['package'])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory(arguments.memory)
    else:
        main(arguments.repeats)

"""What options of the features cost beside the plain step: time and memory of a step, disk of the cache.

    python benchmarks/weights.py

The step of `step.py` with cached features, here random ones: SimpleBEV with EfficientNet-B0, six images of
224 x 400, 200 x 200 x 8 voxels, batch 1. `measured` is a step that measures the ratio of gradients, which is
one in 50 by default. `position` subtracts means of patches. `two blocks` are 768 channels, `stages` are 112
of EfficientNet-lite0 at stride 16, `two teachers` are 384 and 112. Time: processor time
on one thread, alternating repeats. Memory: growth
of the peak resident size of a fresh process over two steps.
"""

import statistics
import time
from dataclasses import dataclass, replace
from functools import partial

import torch
from lifting import grid
from measuring import arguments, growth_mb, in_fresh_process, in_turn, ratio, record
from step import Step, sample_batch

from occfeat.data.sample.teacher import FeatureMaps, TeacherImages, TeacherMaps
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.settings.sections import Center, HeadConfig, PretrainLossConfig
from occfeat.settings.students import SimpleBevConfig

MEASURED_EVERY = 50
"""Steps between two measurements, by default."""


@dataclass(frozen=True)
class Way:
    """An option of the features."""

    parts: tuple[int, ...] = (384,)
    patches: tuple[int, int] = (16, 28)
    center: Center = "none"
    measured: bool = False

    @property
    def cache_mb(self) -> float:
        """Size of a key frame in the cache, with eight bits per value."""
        return 6 * self.patches[0] * self.patches[1] * (sum(self.parts) + 4) / 1e6


WAYS = {
    "plain": Way(),
    "measured": Way(measured=True),
    "position": Way(center="position"),
    "two blocks": Way(parts=(768,)),
    "stages": Way(parts=(112,), patches=(14, 24)),
    "two teachers": Way(parts=(384, 112)),
}


def step_of(way: Way) -> Step:
    """Return the loss of a forward pass, ready for backward."""
    torch.manual_seed(0)
    student = build_student(SimpleBevConfig(backbone_weights="none"), grid())
    sees, head = TeacherShape(way.parts, 6, way.patches), HeadConfig()
    objectives = build_objectives(PretrainLossConfig(center=way.center), head=head)
    network = PretrainingNetwork(student, objectives, heights=grid().shape[2], head=head, teacher=sees)
    network.train().measures = way.measured
    batch = sample_batch()
    assert isinstance(batch.teacher, TeacherImages)
    values = torch.randint(-100, 100, (1, 6, *way.patches, sees.channels), dtype=torch.int8)
    maps = TeacherMaps(FeatureMaps(values, torch.ones(1, 6, *way.patches)), batch.teacher.cameras)
    cached, maker = replace(batch, teacher=maps), TargetMaker(objectives, grid(), None, network.usual_maps)
    return lambda: network(cached, maker(cached)).loss


def seconds(step: Step) -> float:
    """Return the processor time of targets, forward and backward, which other programs change little."""
    start = time.process_time()
    step().backward()
    return time.process_time() - start


def memory_mb(name: str) -> float:
    """Return the growth of the peak resident size over two steps, in a fresh process."""
    step = step_of(WAYS[name])
    return growth_mb(lambda: [seconds(step) for _ in range(2)])


def main(repeats: int) -> None:
    """Measure every way and print a table."""
    torch.set_num_threads(1)
    memory = {name: in_fresh_process(__file__, "--memory", name)[0] for name in WAYS}
    steps = {name: step_of(way) for name, way in WAYS.items()}
    times = in_turn({name: partial(seconds, step) for name, step in steps.items()}, repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| option | s | beside plain | extra memory MB | cache, MB per key frame |\n|---|---|---|---|---|")
    for name, way in WAYS.items():
        beside = ratio(times[name], times["plain"])
        print(
            f"| {name} | {statistics.median(times[name]):.2f} | {beside} | {memory[name]:.0f} "
            f"| {way.cache_mb:.2f} |"
        )
    more = ratio(times["measured"], times["plain"])
    share = (more.median - 1) / MEASURED_EVERY
    print(f"\nmeasuring in one of {MEASURED_EVERY} steps: {share:.2%} of a step on average")
    spread = ((more.low - 1) / MEASURED_EVERY, (more.high - 1) / MEASURED_EVERY)
    record("measuring the ratio of gradients: share of a step", share, at_most=0.02, spread=spread)


if __name__ == "__main__":
    given = arguments(__doc__, 3, tuple(WAYS))
    if given.memory:
        print(memory_mb(given.memory))
    else:
        main(given.repeats)

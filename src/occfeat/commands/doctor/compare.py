"""A device beside the CPU: lifting, targets, losses, gradients and training steps of each student."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.commands.doctor.rows import Row
from occfeat.commands.doctor.scene import SMALL, TEACHER_CHANNELS, Sizes, make_batch
from occfeat.data.sample.sample import Batch
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from occfeat.settings.sections import HeadConfig, OptimConfig, PretrainLossConfig
from occfeat.settings.students import BevFormerConfig, LssConfig, SimpleBevConfig, StudentConfig
from occfeat.training.device import autocast
from occfeat.training.optim.adamw import build_optimizer, restore_optimizer

STUDENTS: dict[str, StudentConfig] = {
    "simplebev": SimpleBevConfig(backbone_weights="none"),
    "bevformer": BevFormerConfig(backbone_weights="none", layers=2),
    "lss": LssConfig(backbone_weights="none"),
}
KEY_FRAMES = 2
STEPS = 10
OPTIM = OptimConfig(learning_rate=1e-3)
FULL, HALF = "32-true", "bf16-mixed"


@dataclass
class Learner:
    """A network in training on one device."""

    network: PretrainingNetwork
    targets: TargetMaker
    optimizer: torch.optim.AdamW
    device: torch.device
    precision: str

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Return the loss of a batch that is on the device."""
        with autocast(self.device, self.precision):
            targets = self.targets(batch)
            step = self.network(batch, targets)
        loss: Tensor = step.loss
        return loss

    def step(self, batch: Batch) -> float:
        """Take one optimiser step; return its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())


def build_learner(
    student: StudentConfig, sizes: Sizes, device: torch.device, precision: str = FULL
) -> Learner:
    """Build a network with the same random weights on any device."""
    torch.manual_seed(0)
    loss = PretrainLossConfig(features=0.1)
    objectives = build_objectives(loss, student=student)
    network = PretrainingNetwork(
        build_student(student, sizes.grid),
        objectives,
        heights=sizes.grid.shape[2],
        head=HeadConfig(),
        teacher=TeacherShape((TEACHER_CHANNELS,)),
    )
    network.to(device).train()
    maker = TargetMaker(objectives, sizes.grid)
    return Learner(network, maker, build_optimizer(network, OPTIM), device, precision)


def compare_targets(device: torch.device) -> Iterator[Row]:
    """Compare the targets of a batch with those of the CPU."""
    made = []
    for place in (torch.device("cpu"), device):
        learner = build_learner(STUDENTS["simplebev"], SMALL, place)
        targets = learner.targets(make_batch(SMALL, KEY_FRAMES).to(place))
        made.append((targets["occupancy"].occupied.cpu(), targets["features"]))
    (occupied, features), (occupied_there, features_there) = made
    yield Row("targets: voxels with another occupancy", float((occupied != occupied_there).sum()), limit=0)
    cells, cells_there = features.cells.tolist(), features_there.cells.tolist()
    place_of = {tuple(cell): number for number, cell in enumerate(cells)}
    common = [(place_of[tuple(cell)], row) for row, cell in enumerate(cells_there) if tuple(cell) in place_of]
    others = len(cells) + len(cells_there) - 2 * len(common)
    yield Row("targets: share of voxels with features here alone", others / len(cells), limit=0.001)
    if not common:
        return  # nothing is left to compare, and the last line says so
    mine, theirs = zip(*common, strict=True)
    true, got = features.features[list(mine)], features_there.features.cpu()[list(theirs)]
    yield Row("targets: features, largest difference", float((true - got).abs().max()), limit=0.01)


def compare_student(name: str, device: torch.device) -> Iterator[Row]:
    """Compare a student with the same weights on the CPU, in float32 and in bfloat16."""
    cpu = torch.device("cpu")
    batch = make_batch(SMALL, KEY_FRAMES)
    true = build_learner(STUDENTS[name], SMALL, cpu)
    reference = _one_pass(true, batch)
    for precision, limits in ((FULL, (1e-3, 1e-3, 1e-2)), (HALF, (0.1, 0.05, 0.5))):
        here = _one_pass(build_learner(STUDENTS[name], SMALL, device, precision), batch)
        for what, got, wanted, limit in zip(
            ("BEV features", "loss", "gradient"), here, reference, limits, strict=True
        ):
            share = float((got - wanted).norm() / wanted.norm())
            yield Row(f"{name}, {precision}: {what}, relative difference", share, limit=limit)
    losses = _ten_steps(true, batch)
    for precision, limit in ((FULL, 0.05), (HALF, 0.1)):
        ten = _ten_steps(build_learner(STUDENTS[name], SMALL, device, precision), batch)
        apart = abs(ten[-1] - losses[-1]) / abs(losses[-1])
        yield Row(f"{name}, {precision}: loss after {STEPS} steps, relative", apart, limit=limit)
        over_first = ten[-1] / ten[0] if ten[0] else math.inf
        yield Row(f"{name}, {precision}: last loss over first", over_first, limit=0.95)


def _one_pass(learner: Learner, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return BEV features, loss and gradient of the student, on the CPU."""
    there = batch.to(learner.device)
    with _exact():
        loss = learner.loss(there)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad(), autocast(learner.device, learner.precision):
            bev = learner.network.student(there.images, there.cameras)
    parameters = learner.network.student.parameters()
    gradients = [one.grad.flatten().float().cpu() for one in parameters if one.grad is not None]
    learner.optimizer.zero_grad(set_to_none=True)
    return bev.float().cpu(), loss.detach().float().cpu(), torch.cat(gradients)


def _ten_steps(learner: Learner, batch: Batch) -> list[float]:
    """Return the losses of some steps on one batch."""
    there = batch.to(learner.device)
    with _exact():
        return [learner.step(there) for _ in range(STEPS)]


def compare_resumed(device: torch.device) -> Iterator[Row]:
    """Compare a run that goes on from a checkpoint with one that was not stopped."""
    batch = make_batch(SMALL, KEY_FRAMES).to(device)
    with _deterministic(), TemporaryDirectory() as folder:
        whole = build_learner(STUDENTS["simplebev"], SMALL, device)
        file = Path(folder) / "checkpoint.pt"
        for number in range(4):
            if number == 2:
                _save(whole, file)
            whole.step(batch)
        again = build_learner(STUDENTS["simplebev"], SMALL, device)
        _restore(again, file)
        for _ in range(2):
            again.step(batch)
    ends = (learner.network.state_dict().values() for learner in (whole, again))
    changed = sum(not torch.equal(one, other) for one, other in zip(*ends, strict=True))
    yield Row("resumed beside uninterrupted: tensors that differ", float(changed), limit=0)


def _save(learner: Learner, file: Path) -> None:
    """Write a checkpoint."""
    checkpoint = Checkpoint(
        step=2,
        network=learner.network.state_dict(),
        optimizer=learner.optimizer.state_dict(),
        random_state=torch.get_rng_state(),
        pending={},
        metrics_bytes=0,
        broken=[[]],
    )
    save_checkpoint(file, checkpoint)


def _restore(learner: Learner, file: Path) -> None:
    """Go on from a checkpoint."""
    saved = load_checkpoint(file)
    learner.network.load_state_dict(saved.network)
    restore_optimizer(learner.optimizer, saved.optimizer)


@contextmanager
def _exact() -> Iterator[None]:
    """Compute products of float32 in float32, where a GPU would round them to 19 bits."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


@contextmanager
def _deterministic() -> Iterator[None]:
    """Use deterministic algorithms."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)

"""The schedule of the learning rate, and who gets which share of it."""

import pytest
import torch
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.models.encoders.encoder import ImageEncoder
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.encoders.vit import VitEncoder
from occfeat.models.students.build import build_student
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import FinetuningNetwork, Segmenter
from occfeat.settings.sections import OptimConfig
from occfeat.settings.students import BevFormerConfig, LssConfig, PublishedSimpleBevConfig, SimpleBevConfig
from occfeat.training.optim.adamw import (
    build_optimizer,
    learning_rate_at,
    require_layers,
    restore_optimizer,
    set_learning_rate,
)
from tests.models.rigs import SQUARE_GRID


class Network(nn.Module):
    """A student and a head, each with a layer that learns and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
        self.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        self.student[0].requires_grad_(False)
        self.head[0].requires_grad_(False)


def test_student_rate__is_a_share_of_the_others() -> None:
    network = Network()
    optimizer = build_optimizer(network, OptimConfig(learning_rate=0.5, student_rate=0.1))
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert rates == {
        **{id(one): pytest.approx(0.05) for one in network.student[1].parameters()},
        **{id(one): 0.5 for one in network.head[1].parameters()},
    }
    set_learning_rate(optimizer, 2.0)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.2), 2.0]


def test_student_rate__is_not_that_of_another_module_of_that_name() -> None:
    network = Network()
    network.head.add_module("student", nn.Linear(1, 1))
    optimizer = build_optimizer(network, OptimConfig(student_rate=0.1))
    sizes = [sum(one.numel() for one in group["params"]) for group in optimizer.param_groups]
    assert sizes == [3 * 3 + 3, 3 + 1 + 2]


def test_student_rate__of_the_student_of_a_segmenter() -> None:
    network = Network()
    segmenter = Segmenter(network.student, SegmentationHead(3, 1, linear=True))
    tuning = FinetuningNetwork(
        segmenter, positive_weight=1.0, ignore_low_visibility=False, has_visibility=True
    )
    optimizer = build_optimizer(tuning, OptimConfig(student_rate=0.1))
    student = {id(one) for one in network.student[1].parameters()}
    assert [{id(one) for one in group["params"]} == student for group in optimizer.param_groups] == [
        True,
        False,
    ]


def test_student_rate__of_a_frozen_student_is_nobodys() -> None:
    network = Network()
    network.student.requires_grad_(False)
    optimizer = build_optimizer(network, OptimConfig(student_rate=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [OptimConfig().learning_rate]


def test_student_rate__one_is_what_a_single_group_does() -> None:
    ends = []
    for single in (False, True):
        torch.manual_seed(0)
        network = Network()
        optimizer = build_optimizer(network, OptimConfig(learning_rate=0.1))
        if single:
            learns = [one for one in network.parameters() if one.requires_grad]
            optimizer = torch.optim.AdamW(learns, lr=0.1, weight_decay=OptimConfig().weight_decay)
        for _ in range(3):
            network.head(network.student(torch.ones(4, 2))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(torch.cat([one.detach().flatten() for one in network.parameters()]))
    assert torch.equal(*ends)


def _shares(network: nn.Module, config: OptimConfig) -> dict[str, float]:
    """The share of the learning rate of each parameter that learns, by its name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, config).param_groups
    return {names[id(one)]: group["share"] for group in groups for one in group["params"]}


class Holder(nn.Module):
    """A network with a student."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.head = nn.Linear(1, 1)


LAYERS = {
    "test_efficientnet": ["conv_stem.", "bn1.", "blocks.0.0.", "blocks.1.0.", "blocks.2.0.", "blocks.3.0."],
    "test_resnet": ["conv1.", "bn1.", "layer1.0.", "layer2.0.", "layer3.0."],
    "test_convnext": ["stem_0.", "stem_1.", "stages_0.", "stages_1.", "stages_2."],
}


@pytest.mark.parametrize("kind", [SimpleBevConfig, LssConfig, BevFormerConfig, PublishedSimpleBevConfig])
def test_layer_decay__falls_with_depth_in_every_student(kind: type) -> None:
    settings = {"backbone": "resnet18", "backbone_weights": "none", "image_channels": 8, "bev_channels": 16}
    student = build_student(kind(**settings), SQUARE_GRID)
    shares = _shares(Holder(student), OptimConfig(student_rate=0.5, layer_decay=0.8))
    backbone = "student.encoder.backbone."
    # ResNet-18 up to stride 16: the stem, and two blocks in each of three stages
    order = ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1"]
    for above, prefix in enumerate(reversed(order), start=1):
        found = {share for name, share in shares.items() if name.startswith(f"{backbone}{prefix}.")}
        assert found == {0.5 * 0.8**above}, prefix
    assert shares[f"{backbone}bn1.weight"] == shares[f"{backbone}conv1.weight"]
    behind = {s for name, s in shares.items() if name.startswith("student.") and backbone not in name}
    assert behind == {0.5}
    assert {share for name, share in shares.items() if name.startswith("head.")} == {1.0}


@pytest.mark.parametrize("backbone", LAYERS)
def test_layers__of_a_pyramid_go_from_the_image_to_the_neck(backbone: str) -> None:
    encoder = PyramidEncoder(backbone, 8)
    numbers = encoder.layer_numbers()
    assert set(numbers) == {name for name, _ in encoder.backbone.named_parameters()}
    of_prefix = [
        max(number for name, number in numbers.items() if name.startswith(prefix))
        for prefix in LAYERS[backbone]
    ]
    assert of_prefix == sorted(of_prefix)
    assert of_prefix[0] == 0
    assert of_prefix[-1] == max(numbers.values()) == len(encoder.layers()) - 1


def test_layers__of_a_transformer_are_its_blocks() -> None:
    encoder = VitEncoder("test_vit", 8, blocks=3)
    encoder.add_low_rank(2)
    numbers = encoder.layer_numbers()
    assert numbers["patch_embed.proj.weight"] == numbers["pos_embed"] == 0
    assert numbers["blocks.2.attn.qkv.parametrizations.weight.0.down"] == 3
    shares = _shares(Holder(nn.Sequential(encoder)), OptimConfig(layer_decay=0.5))
    assert shares["student.0.backbone.blocks.2.attn.proj.parametrizations.weight.0.up"] == 0.5
    assert shares["student.0.backbone.blocks.0.attn.proj.parametrizations.weight.0.up"] == 0.125
    assert "student.0.backbone.pos_embed" not in shares  # frozen


class Unknown(ImageEncoder):
    """An encoder around a network that timm does not know."""

    def __init__(self) -> None:
        super().__init__("resnet18", nn.Conv2d(3, 4, 8, 8), 4, 4)


@pytest.mark.parametrize(
    ("student", "message"),
    [(nn.Linear(2, 3), "got Linear without one"), (Unknown(), "which layer of Conv2d weight belongs to")],
)
def test_layer_decay__of_a_student_without_known_layers_is_refused(student: nn.Module, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        require_layers(student, OptimConfig(layer_decay=0.8))
    require_layers(student, OptimConfig())


def _train(network: nn.Module, optimizer: torch.optim.AdamW, steps: int) -> Tensor:
    images = torch.arange(2 * 3 * 32 * 32).remainder(255).to(torch.uint8).view(2, 3, 32, 32)
    for step in range(steps):
        set_learning_rate(optimizer, 0.01 / (step + 1))
        network.student(images).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([one.detach().flatten() for one in network.parameters()])


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_layer_decay__moments_are_restored_to_the_bit(layer_decay: float) -> None:
    ends = []
    for interrupted in (False, True):
        torch.manual_seed(0)
        network = Holder(PyramidEncoder("test_efficientnet", 4))
        config = OptimConfig(layer_decay=layer_decay)
        optimizer = build_optimizer(network, config)
        _train(network, optimizer, 2)
        if interrupted:
            state = optimizer.state_dict()
            optimizer = build_optimizer(network, config)
            restore_optimizer(optimizer, state)
        ends.append(_train(network, optimizer, 2))
    assert torch.equal(*ends)


def test_layer_decay__moments_of_other_groups_are_refused() -> None:
    student = nn.Sequential(PyramidEncoder("test_efficientnet", 4), nn.Linear(1, 1))
    network = Holder(student)
    optimizer = build_optimizer(network, OptimConfig(layer_decay=0.7))
    with pytest.raises(ValueError, match=r"got \[\d+, 2\]; if optim\.layer_decay was edited, restore it"):
        restore_optimizer(optimizer, build_optimizer(network, OptimConfig()).state_dict())
    other = build_optimizer(network, OptimConfig(layer_decay=0.9, student_rate=0.5))
    restore_optimizer(optimizer, other.state_dict())  # the same groups at other rates


def test_learning_rate__equals_torch_one_cycle() -> None:
    config, steps = OptimConfig(learning_rate=0.1, warmup=0.25), 40
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, pct_start=0.25, anneal_strategy="linear", cycle_momentum=False
    )
    for step in range(steps):
        assert learning_rate_at(step, steps, config) == pytest.approx(cycle.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            cycle.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_learning_rate__shortest_runs_stay_finite(steps: int) -> None:
    for step in range(steps):
        assert 0 < learning_rate_at(step, steps, OptimConfig()) <= OptimConfig().learning_rate

import pytest
import torch
from pydantic import ValidationError

from occfeat.errors import SettingsError
from occfeat.models.encoders.encoder import feature_size
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.settings.students import SimpleBevConfig


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "resnet18", "tf_efficientnet_lite0", "convnext_atto", "ghostnet_050"]
)
def test_image_encoder__stride_8_for_any_size(name: str) -> None:
    encoder = PyramidEncoder(name, channels=12).eval()
    for size in [(64, 96), (56, 75), (33, 40)]:
        images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
        features = encoder(images)
        assert features.shape == (2, 12, *feature_size(size))
        assert features.isfinite().all()


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b4", "resnet50", "mobilenetv3_small_100"])
def test_image_encoder__keeps_no_stage_it_does_not_use(name: str) -> None:
    encoder = PyramidEncoder(name, channels=8)
    encoder(torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_image_encoder__padding_leaves_cells_where_they_are() -> None:
    """An image cut at the right and bottom has the features it had, away from the cut."""
    torch.manual_seed(0)
    encoder = PyramidEncoder("resnet18", channels=8).eval()
    images = torch.randint(0, 256, (1, 3, 160, 320), dtype=torch.uint8)
    fine_whole, _ = encoder.backbone(images.float() / 255)
    fine_cut, _ = encoder.backbone(images[..., :149, :309].float() / 255)
    assert fine_cut.shape[-2:] == feature_size((149, 309)) == (19, 39)
    assert torch.allclose(fine_whole[..., :8, :20], fine_cut[..., :8, :20], atol=1e-5)

    # Instance normalisation sees the whole image, so the neck is compared by where its response lies.
    peak = torch.zeros(1, 3, 149, 309, dtype=torch.uint8)
    peak[..., 64:72, 160:168] = 255
    response = (encoder(peak) - encoder(torch.zeros_like(peak))).abs().sum(1)[0]
    v, u = (
        (response.sum(1 - axis) * (torch.arange(n) + 0.5)).sum() / response.sum() * 8
        for axis, n in enumerate((19, 39))
    )
    assert abs(u - 164) < 12
    assert abs(v - 68) < 12


def test_image_encoder__normalizes_as_the_weights_expect() -> None:
    encoder = PyramidEncoder("resnet18", channels=4)
    assert encoder.mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    seen: list[torch.Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder.set_normalization((127 / 255,) * 3, (128 / 255,) * 3)
    encoder(torch.full((1, 3, 16, 32), 255, dtype=torch.uint8))
    assert torch.allclose(seen[0], torch.ones(()))
    assert {"mean", "std"} <= encoder.state_dict().keys()  # they travel with the weights


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "hrnet_w18_small", "coat_lite_tiny"]
)
def test_image_encoder__refuses_networks_without_a_pyramid(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} has no stages at strides 8 and 16"):
        PyramidEncoder(name, channels=4)


def test_image_encoder__unknown_name() -> None:
    with pytest.raises(SettingsError, match="resnet50"):
        PyramidEncoder("resnet5O", channels=4)


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_lite0", "resnet18", "convnext_atto"])
def test_freeze_stem__keeps_the_layers_up_to_stride_8_and_trains_the_rest(name: str) -> None:
    torch.manual_seed(0)
    encoder = PyramidEncoder(name, 8, freeze_stem=True).train()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        fine_before = encoder.backbone(images / 255)[0]
    before = {key: tensor.clone() for key, tensor in encoder.backbone.state_dict().items()}
    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    encoder(images).square().mean().backward()
    optimizer.step()
    changed = {
        key for key, tensor in encoder.backbone.state_dict().items() if not torch.equal(tensor, before[key])
    }
    assert changed, "the layers behind stride 8 learn"
    with torch.no_grad():
        fine_after = encoder.backbone(images / 255)[0]
    assert torch.equal(fine_before, fine_after)
    assert encoder.eval().train().backbone.training
    frozen = [parameter for parameter in encoder.backbone.parameters() if not parameter.requires_grad]
    assert frozen
    assert len(frozen) < len(list(encoder.backbone.parameters()))


def test_freeze_stem__of_random_weights_is_refused() -> None:
    with pytest.raises(ValidationError, match="random weights"):
        SimpleBevConfig(freeze_stem=True, backbone_weights="none")

import pytest
import torch

from occfeat.models.students.bev_encoder import BevEncoder


@pytest.mark.parametrize("shape", [(16, 16), (10, 30), (25, 13)])
def test_bev_encoder__keeps_the_grid(shape: tuple[int, int]) -> None:
    assert BevEncoder(32)(torch.randn(2, 32, *shape)).shape == (2, 32, *shape)


def test_bev_encoder__odd_channels() -> None:
    assert BevEncoder(10)(torch.randn(1, 10, 8, 8)).shape == (1, 10, 8, 8)


def test_bev_encoder__a_key_frame_is_treated_alike_alone_in_a_batch_and_in_training() -> None:
    encoder, bev = BevEncoder(16), torch.randn(3, 16, 24, 24)
    together = encoder.train()(bev)
    alone = torch.cat([encoder.eval()(one[None]) for one in bev])
    assert torch.allclose(together, alone, atol=1e-5)


def test_bev_encoder__sees_far() -> None:
    encoder, bev = BevEncoder(16), torch.randn(1, 16, 64, 64, requires_grad=True)
    encoder(bev)[0, :, 32, 32].sum().backward()
    assert bev.grad is not None
    touched = (bev.grad[0].abs().sum(0) > 0).nonzero()
    assert (touched.amax(0) - touched.amin(0) >= 60).all()

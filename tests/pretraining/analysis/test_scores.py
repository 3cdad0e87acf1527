"""Metrics about features, on features whose answer is known."""

import pytest
import torch

from occfeat.pretraining.analysis import scores

pytest.importorskip("sklearn", reason="comes with the extra `analysis`")
NAMES = ("car", "road", "never")


def told_apart(spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes around two directions."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    directions = torch.eye(2, 8)[labels]
    return directions + spread * torch.randn(200, 8, generator=random), labels


def probed(features: torch.Tensor, labels: torch.Tensor) -> scores.Scores:
    """Fit probes on the first half, and return the AUC on the second."""
    decisions = scores.probe(features[:100], labels[:100], features[100:], NAMES)
    return scores.auc(decisions, labels[100:], NAMES)


def test_probe__tells_apart_what_is_apart_and_nothing_else() -> None:
    found = probed(*told_apart(0.05))
    assert found == pytest.approx({"car": 1.0, "road": 1.0, "mean": 1.0})
    noise = torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    assert 0.3 < probed(noise, torch.arange(200) % 2)["mean"] < 0.7


def test_probe__of_one_class_alone_has_no_value() -> None:
    features, labels = told_apart(0.05)
    assert probed(features, torch.zeros_like(labels)) == {}
    decisions = scores.probe(features, labels, features, NAMES)
    assert scores.auc(decisions, torch.zeros_like(labels), NAMES) == {}


def test_auc__by_distance_is_that_of_the_voxels_of_each_ring() -> None:
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
    decisions = {"car": torch.tensor([3.0, 1.0, 2.0, 1.5, 2.0, 1.0, 5.0, 5.0])}
    distance_m = torch.tensor([1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 21.0, 22.0])
    found = scores.auc_by_distance(decisions, labels, NAMES, distance_m, (0.0, 10.0, 20.0, 30.0))
    near_and_far = {"0-10 m": 1.0, "10-20 m": 0.0}
    assert found == {"car": near_and_far, "mean": near_and_far}


def test_clusters__that_are_the_classes_fit_perfectly() -> None:
    features, labels = told_apart(0.01)
    found = scores.clusters(features, labels, count=2, seed=0)
    assert found == pytest.approx({"purity": 1.0, "share_of_largest_class": 0.5, "nmi": 1.0, "ari": 1.0})


def test_clusters__of_noise_do_not_fit() -> None:
    noise = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
    found = scores.clusters(noise, torch.arange(400) % 2, count=2, seed=0)
    assert abs(found["ari"]) < 0.05
    assert found["nmi"] < 0.05


def test_means__by_class_and_by_distance() -> None:
    values, labels = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0, 0, 1])
    assert scores.mean_by_class(values, labels, NAMES) == {"car": 1.5, "road": 6.0, "all": 3.0}
    rings = scores.mean_by_distance(values, torch.tensor([0.0, 10.0, 15.0]), (0.0, 10.0, 20.0, 30.0))
    assert rings == {"0-10 m": 1.0, "10-20 m": 4.0}


def test_overlap__is_counted_in_rings() -> None:
    predicted = torch.tensor([True, True, False, True])
    true = torch.tensor([True, False, True, True])
    counts = scores.overlap_by_distance(
        predicted, true, torch.tensor([1.0, 2.0, 11.0, 12.0]), (0.0, 10.0, 20.0)
    )
    found = {ring: (int(one.both), int(one.predicted), int(one.true)) for ring, one in counts.items()}
    assert found == {"0-10 m": (1, 2, 1), "10-20 m": (1, 1, 2)}


def test_similarity__is_the_cosine_whatever_the_length() -> None:
    features = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    assert torch.allclose(scores.similarity(features, 0), torch.tensor([1.0, 1.0, 0.0, -1.0]))

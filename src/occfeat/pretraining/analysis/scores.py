"""Metrics of features: linear probes, clusters, and means by class and by distance.

They need scikit-learn, from the extra `analysis`. Axes: `K` voxels, `F` feature channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.training.overlap import Overlap, overlap

Scores = dict[str, float]


Decisions = dict[str, Float[Tensor, " K"]]
"""What a linear probe of each class says of voxels: the higher, the more likely the class."""


def probe(
    train: Float[Tensor, "K2 F"],
    train_labels: Int64[Tensor, " K2"],
    test: Float[Tensor, "K F"],
    names: Sequence[str],
) -> Decisions:
    """Fit a linear probe per class, each against all other voxels, and apply it to other voxels.

    Logistic regression on normalised features, which are compared by cosine. Classes that no training voxel
    has, or all of them, have no probe.
    """
    from sklearn.linear_model import LogisticRegression

    directions, unseen = F.normalize(train.float(), dim=1).numpy(), F.normalize(test.float(), dim=1).numpy()
    decisions = {}
    for number, name in enumerate(names):
        known = (train_labels == number).numpy()
        if known.any() and not known.all():
            fitted = LogisticRegression(C=10.0, class_weight="balanced", max_iter=300).fit(directions, known)
            decisions[name] = torch.from_numpy(fitted.decision_function(unseen))
    return decisions


def auc(decisions: Decisions, labels: Int64[Tensor, " K"], names: Sequence[str]) -> Scores:
    """Return the area under the ROC curve of each probe, and their mean, which is called `mean`.

    Classes that no voxel has, or all of them, have no value.
    """
    from sklearn.metrics import roc_auc_score

    scores = {}
    for name, values in decisions.items():
        true = labels == names.index(name)
        if true.any() and not true.all():
            scores[name] = float(roc_auc_score(true.numpy(), values.numpy()))
    return with_mean(scores)


def auc_by_distance(
    decisions: Decisions,
    labels: Int64[Tensor, " K"],
    names: Sequence[str],
    distance_m: Float[Tensor, " K"],
    edges_m: Sequence[float],
) -> dict[str, Scores]:
    """Return the area under the ROC curve in each ring around the car, for each class that has a value there.

    The probes are those of all distances, so rings differ by what the features tell, not by what was fitted.
    """
    by_class: dict[str, Scores] = {}
    for low, high in pairwise(edges_m):
        ring = (distance_m >= low) & (distance_m < high)
        inside = {name: values[ring] for name, values in decisions.items()}
        for name, value in auc(inside, labels[ring], names).items():
            by_class.setdefault(name, {})[ring_name(low, high)] = value
    return by_class


def clusters(features: Float[Tensor, "K F"], labels: Int64[Tensor, " K"], count: int, seed: int) -> Scores:
    """Score how k-means clusters of normalised features fit the classes: purity, NMI and ARI (1: perfect).

    Purity rises with the number of clusters and with a large class; the share of the largest class is
    returned, too.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    directions = F.normalize(features.float(), dim=1).numpy()
    found = KMeans(count, n_init=3, random_state=seed).fit_predict(directions)
    together = np.zeros((count, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(together, (found, labels.numpy()), 1)
    return {
        "purity": float(together.max(axis=1).sum() / len(labels)),
        "share_of_largest_class": float(together.sum(axis=0).max() / len(labels)),
        "nmi": float(normalized_mutual_info_score(labels.numpy(), found)),
        "ari": float(adjusted_rand_score(labels.numpy(), found)),
    }


def mean_by_class(values: Float[Tensor, " K"], labels: Int64[Tensor, " K"], names: Sequence[str]) -> Scores:
    """Return the mean of a value over the voxels of each class that occurs."""
    means = {
        name: float(values[labels == number].mean())
        for number, name in enumerate(names)
        if (labels == number).any()
    }
    return {**means, "all": float(values.mean())}


def mean_by_distance(
    values: Float[Tensor, " K"], distance_m: Float[Tensor, " K"], edges_m: Sequence[float]
) -> Scores:
    """Return the mean of a value over each non-empty ring around the car, by names such as `10-20 m`."""
    means = {}
    for low, high in pairwise(edges_m):
        ring = (distance_m >= low) & (distance_m < high)
        if ring.any():
            means[ring_name(low, high)] = float(values[ring].mean())
    return means


def overlap_by_distance(
    predicted: Bool[Tensor, "*shape"],
    true: Bool[Tensor, "*shape"],
    distance_m: Float[Tensor, "*shape"],
    edges_m: Sequence[float],
) -> dict[str, Overlap]:
    """Count predicted and true voxels in rings around the car."""
    counts = {}
    for low, high in pairwise(edges_m):
        ring = (distance_m >= low) & (distance_m < high)
        counts[ring_name(low, high)] = overlap(predicted & ring, true & ring)
    return counts


def ring_name(low_m: float, high_m: float) -> str:
    """Return the name of a ring."""
    return f"{low_m:g}-{high_m:g} m"


def with_mean(scores: Scores) -> Scores:
    """Return the scores, and their mean unless they are empty."""
    return {**scores, "mean": sum(scores.values()) / len(scores)} if scores else {}


def similarity(features: Float[Tensor, "K F"], chosen: int) -> Float[Tensor, " K"]:
    """Return the cosine of each voxel's feature with that of the chosen voxel."""
    directions = F.normalize(features.float(), dim=1)
    return torch.mv(directions, directions[chosen])

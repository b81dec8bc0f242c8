"""Weighted k-means of few, very long vectors."""

from __future__ import annotations

from typing import NamedTuple

import torch

MAX_ITERATIONS = 20
RESTARTS = 4  # of which the best is taken; cheap, as the Gram matrix is shared


class Clusters(NamedTuple):
    """Result of `kmeans`; K is at most the number of points."""

    centroids: torch.Tensor  # [K, ...] in the dtype of the points
    labels: torch.Tensor  # int64 [n]: the centroid of each point
    weights: torch.Tensor  # float64 [K]: weight of the points behind each centroid
    inertia: float  # weighted sum of squared distances to the centroids


def kmeans(points: torch.Tensor, k: int, *, weights: torch.Tensor | None = None, seed: int = 0) -> Clusters:
    """Cluster n points [n, ...] into at most k weighted means (Lloyd's algorithm with k-means++ starts).

    All distances come from the n x n Gram matrix of the centred points, so an iteration costs the same however long
    the vectors are (a frame of 144 tokens of width 3584 is one vector of half a million numbers). Meant for n up to a
    few thousand. Clusters are numbered in the order of their first point. Deterministic for one seed.
    """
    if points.ndim < 2 or len(points) == 0 or k < 1:
        raise ValueError(f"kmeans needs at least one point [n, ...] and k >= 1, got {list(points.shape)} and k={k}")
    n = len(points)
    flat = points.reshape(n, -1).float()
    mass = torch.ones(n, dtype=torch.float64) if weights is None else weights.double()
    centred = flat - flat.mean(0)
    gram = (centred @ centred.T).double()
    generator = torch.Generator().manual_seed(seed)
    runs = (_lloyd(gram, mass, _spread(gram, mass, min(k, n), generator)) for _ in range(RESTARTS))
    labels, inertia = min(runs, key=lambda run: run[1])
    labels = _in_order_of_appearance(labels)
    member = torch.nn.functional.one_hot(labels).double() * mass[:, None]
    totals = member.sum(0)
    centroids = (member / totals).T.float() @ flat
    return Clusters(centroids.reshape(-1, *points.shape[1:]).to(points.dtype), labels, totals, inertia)


def _distances_to_point(gram: torch.Tensor, index: int) -> torch.Tensor:
    diagonal = gram.diagonal()
    return (diagonal + diagonal[index] - 2 * gram[index]).clamp_min(0)


def _spread(gram: torch.Tensor, mass: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    """k-means++: each next start is drawn in proportion to its squared distance from those there; labels [n]."""
    starts = [int(torch.multinomial(mass, 1, generator=generator))]
    nearest = _distances_to_point(gram, starts[0])
    while len(starts) < k and bool((nearest * mass).sum() > 0):
        starts.append(int(torch.multinomial(nearest * mass, 1, generator=generator)))
        nearest = torch.minimum(nearest, _distances_to_point(gram, starts[-1]))
    return torch.stack([_distances_to_point(gram, start) for start in starts], 1).argmin(1)


def _lloyd(gram: torch.Tensor, mass: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Labels [n] and inertia after Lloyd's iterations; a cluster that runs empty is given up."""
    for _ in range(MAX_ITERATIONS):
        distances = _distances_to_means(gram, mass, labels)
        moved = distances.argmin(1)
        if torch.equal(moved, labels):
            break
        labels = moved.unique(return_inverse=True)[1]
    distances = _distances_to_means(gram, mass, labels)
    return labels, float((distances.gather(1, labels[:, None])[:, 0] * mass).sum())


def _distances_to_means(gram: torch.Tensor, mass: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared distances [n, K] of every point to every cluster's weighted mean."""
    share = torch.nn.functional.one_hot(labels).double() * mass[:, None]
    share = share / share.sum(0)
    cross = gram @ share
    return (gram.diagonal()[:, None] - 2 * cross + (share * cross).sum(0)).clamp_min(0)


def _in_order_of_appearance(labels: torch.Tensor) -> torch.Tensor:
    order: dict[int, int] = {}
    return torch.tensor([order.setdefault(int(label), len(order)) for label in labels])

"""Weighted k-means of few, very long vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

MAX_ITERATIONS = 20
RESTARTS = 16  # of which the best is taken; all run at once, over one Gram matrix
MOST_MERGED = 256  # points from which one start more is made by merging, at a cost that grows with their cube
TOLERANCE = 1e-6  # of the largest of what is compared: float32 sums differ by less than that between processors
BLOCK_NUMBERS = 2**19  # of all points together that are worked on at once, so that they stay in the processor's cache


class Clusters(NamedTuple):
    """Result of `kmeans`; K is at most the number of points."""

    centroids: torch.Tensor  # [K, ...] in the dtype of the points
    labels: torch.Tensor  # int64 [n]: the centroid of each point
    weights: torch.Tensor  # float64 [K]: weight of the points behind each centroid
    inertia: float  # weighted sum of squared distances to the centroids
    distances: np.ndarray  # float64 [n]: squared distance of each point to its centroid


def kmeans(points: torch.Tensor, k: int, *, weights: torch.Tensor | None = None, seed: int = 0) -> Clusters:
    """Cluster n points [n, ...] into at most k weighted means.

    Lloyd's algorithm, from starts by k-means++ and one by Ward's method; the best is taken.
    All distances come from the n x n Gram matrix of the centred points, so an iteration costs the same however long
    the vectors are (a frame of 144 tokens of width 3584 is one vector of half a million numbers). Meant for n up to a
    few thousand. Clusters are numbered in the order of their first point. Deterministic for one seed.
    """
    if points.ndim < 2 or len(points) == 0 or k < 1:
        raise ValueError(f"kmeans needs at least one point [n, ...] and k >= 1, got {list(points.shape)} and k={k}")
    n = len(points)
    flat = points.reshape(n, -1)
    mass = np.ones(n) if weights is None else weights.double().numpy()
    gram = _gram(flat)
    starts = _spread(gram, mass, min(k, n), np.random.default_rng(seed))
    if n <= MOST_MERGED:
        starts = np.concatenate([starts, _merged(gram, mass, min(k, n))[None]])
    labels, inertia = _lloyd(gram, mass, starts)
    best = int(_first_least(inertia, inertia.max()))
    order, numbered = _in_order_of_appearance(labels[best])
    member = (numbered[:, None] == np.arange(order)) * mass[:, None]
    totals = member.sum(0)
    centroids = _means(flat, torch.from_numpy((member / totals).T).float())
    to_means = _to_means(gram, mass, numbered[None], np.arange(order))[0]
    return Clusters(
        centroids=centroids.reshape(-1, *points.shape[1:]),
        labels=torch.from_numpy(numbered),
        weights=torch.from_numpy(totals),
        inertia=float(inertia[best]),
        distances=to_means[np.arange(n), numbered],
    )


def medoids(found: Clusters) -> list[int]:
    """For each cluster, in its order, which of the points that make it up is nearest to its centroid."""
    nearest = []
    for cluster in range(len(found.centroids)):
        members = np.flatnonzero(found.labels.numpy() == cluster)
        own = found.distances[members]
        nearest.append(int(members[_first_least(own, own.max())]))
    return nearest


def _first_least(values: np.ndarray, scale: float, axis: int | None = None) -> np.ndarray:
    """Where the least value is; of values that differ by rounding alone the first, on any processor."""
    least: np.ndarray = values.min(axis, keepdims=True)
    near: np.ndarray = values <= least + TOLERANCE * scale
    return np.asarray(near.argmax(axis))


def _blocks(flat: torch.Tensor) -> list[slice]:
    """Stretches of the columns of points [n, length]."""
    width = max(1, BLOCK_NUMBERS // len(flat))
    return [slice(start, start + width) for start in range(0, flat.shape[1], width)]


def _gram(flat: torch.Tensor) -> np.ndarray:
    """Dot products of the centred points: float64 [n, n]; all zero if the points differ by rounding alone."""
    gram = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    length = 0.0  # squared, of the longest point before it is centred
    for block in _blocks(flat):
        part = flat[:, block].float()
        length += float(part.square().sum(1).max())
        part = part - part.mean(0)
        gram += part @ part.T
    same = float(gram.diagonal().max()) <= TOLERANCE**2 * length
    return np.zeros(gram.shape) if same else gram.numpy()


def _means(flat: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Averages [K, length] of the points, in their dtype, by their shares [K, n]."""
    means = torch.empty(len(share), flat.shape[1], dtype=flat.dtype)
    for block in _blocks(flat):
        means[:, block] = (share @ flat[:, block].float()).to(flat.dtype)
    return means


def _spread(gram: np.ndarray, mass: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """k-means++: each next start is drawn in proportion to its squared distance from those there.

    Gives, for each restart, the label of every point: int64 [R, n].
    """
    diagonal = gram.diagonal()
    between = diagonal + diagonal[:, None] - 2 * gram  # squared distances [n, n]
    between[between <= TOLERANCE * diagonal.max()] = 0.0
    from_start = [between[_draw(np.tile(mass, (RESTARTS, 1)), random)]]
    nearest = from_start[0]
    while len(from_start) < k and nearest.any():
        from_start.append(between[_draw(nearest * mass, random)])
        nearest = np.minimum(nearest, from_start[-1])
    return _first_least(np.stack(from_start, 2), diagonal.max(), 2)


def _draw(chances: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A point for each restart, [R], drawn in proportion to its chance, [R, n]."""
    sums = chances.cumsum(1)
    drawn: np.ndarray = (sums <= random.random((len(chances), 1)) * sums[:, -1:]).sum(1)
    return drawn.clip(max=chances.shape[1] - 1)


def _merged(gram: np.ndarray, mass: np.ndarray, k: int) -> np.ndarray:
    """Ward's method: the two clusters whose union adds the least inertia are merged until k are left; labels [n]."""
    n = len(mass)
    diagonal, held = gram.diagonal(), mass.copy()
    added = (diagonal + diagonal[:, None] - 2 * gram) * (mass * mass[:, None]) / (mass + mass[:, None])
    scale = added.max()
    np.fill_diagonal(added, np.inf)
    labels = np.arange(n)
    for _ in range(n - k):
        one, other = divmod(int(_first_least(added, scale)), n)
        both = (held[one] + held) * added[one] + (held[other] + held) * added[other] - held * added[one, other]
        both /= held[one] + held[other] + held
        added[one], added[:, one] = both, both
        added[one, one], added[other], added[:, other] = np.inf, np.inf, np.inf
        held[one] += held[other]
        labels[labels == other] = one
    return np.unique(labels, return_inverse=True)[1]


def _lloyd(gram: np.ndarray, mass: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels [R, n] and inertia [R] after Lloyd's iterations; a cluster that runs empty is given up."""
    numbers = np.arange(labels.max() + 1)
    for _ in range(MAX_ITERATIONS):
        distances = _to_means(gram, mass, labels, numbers)
        moved = _first_least(distances, gram.diagonal().max(), 2)
        if np.array_equal(moved, labels):
            break
        labels = moved
    distances = _to_means(gram, mass, labels, numbers)
    return labels, np.take_along_axis(distances, labels[..., None], 2)[..., 0] @ mass


def _to_means(gram: np.ndarray, mass: np.ndarray, labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Squared distances [R, n, K] of every point to every cluster's weighted mean; infinite to one without points."""
    share = (labels[..., None] == numbers) * mass[:, None]
    totals = share.sum(1, keepdims=True)
    share /= np.maximum(totals, np.finfo(float).tiny)
    cross = gram @ share
    distances = gram.diagonal()[:, None] - 2 * cross + (share * cross).sum(1, keepdims=True)
    return np.where(totals > 0, distances.clip(min=0), np.inf)


def _in_order_of_appearance(labels: np.ndarray) -> tuple[int, np.ndarray]:
    """How many labels [n] there are, and the labels numbered in the order in which they come first."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[first.argsort()] = np.arange(len(first))
    return len(first), rank[inverse]

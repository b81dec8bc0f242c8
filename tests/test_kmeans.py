"""Weighted k-means through the Gram matrix."""

import pytest
import torch

from streamchat.memory.kmeans import kmeans


def plain_inertia(points: torch.Tensor, centroids: torch.Tensor, weights: torch.Tensor) -> float:
    distances = torch.cdist(points.flatten(1).double(), centroids.flatten(1).double()) ** 2
    return float((distances.min(1).values * weights).sum())


def test_three_far_groups_are_found_with_their_means_and_weights() -> None:
    groups = [torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(n)) + 100 * n for n in (3, 5, 7)]
    found = kmeans(torch.cat(groups), 3, seed=1)
    assert found.weights.tolist() == [3, 5, 7]
    for centroid, group in zip(found.centroids, groups, strict=True):
        torch.testing.assert_close(centroid, group.mean(0), rtol=1e-4, atol=1e-3)


def test_clusters_are_numbered_in_time_order() -> None:
    points = torch.tensor([[9.0], [9.1], [0.0], [0.1], [5.0]])
    assert kmeans(points, 3).labels.tolist() == [0, 0, 1, 1, 2]


def test_a_heavy_point_pulls_the_mean() -> None:
    found = kmeans(torch.tensor([[0.0], [10.0]]), 1, weights=torch.tensor([9, 1]))
    assert found.centroids.item() == pytest.approx(1.0)
    assert found.weights.tolist() == [10]


def test_inertia_is_that_of_the_centroids_and_near_the_best_of_many_starts() -> None:
    points = torch.randn(40, 6, 5, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(40, generator=torch.Generator().manual_seed(4)) + 0.5
    runs = [kmeans(points, 5, weights=weights, seed=seed) for seed in range(20)]
    for run in runs:
        assert run.inertia == pytest.approx(plain_inertia(points, run.centroids, weights), rel=1e-4)
    assert runs[0].inertia <= 1.05 * min(run.inertia for run in runs)


def test_fewer_distinct_points_than_clusters() -> None:
    assert len(kmeans(torch.zeros(4, 2, 3), 5).centroids) == 1
    assert len(kmeans(torch.eye(3), 5).centroids) == 3


def test_the_same_seed_gives_the_same_clusters_and_the_dtype_stays() -> None:
    points = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)).half()
    first, second = kmeans(points, 4, seed=7), kmeans(points, 4, seed=7)
    assert torch.equal(first.centroids, second.centroids)
    assert first.centroids.dtype == torch.float16


@pytest.mark.parametrize(("points", "k"), [(torch.zeros(0, 3), 2), (torch.zeros(3), 2), (torch.zeros(3, 3), 0)])
def test_bad_input_is_refused(points: torch.Tensor, k: int) -> None:
    with pytest.raises(ValueError, match="at least one point"):
        kmeans(points, k)

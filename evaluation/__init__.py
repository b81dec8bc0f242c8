"""Scores StreamChat on benchmarks."""

METHODS = ("memory", "recent", "uniform", "blind")  # ways to answer that a run compares; see `methods`

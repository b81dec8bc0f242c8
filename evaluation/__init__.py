"""Scores StreamChat on benchmarks."""

"""Checkpoints of vision-language models: what is on this machine, what suits it, and fetching."""

"""The hierarchical memory: short-term, long-term tree, dialogue, and the store that holds them."""

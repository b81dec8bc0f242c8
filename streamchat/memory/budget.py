"""How many bytes the memory of one stream may take, if nobody says it: a share of what the machine has to spare.

All of the memory counts: the tree, the newest frames with their tokens, and pending clips, which have no caption yet.
"""

from __future__ import annotations

SMALLEST_LEAVES = 8  # tokens of so many leaves must fit at least, or folding could not keep the budget
LEAST_BYTES = 64 * 2**20  # half of it holds thirty pictures of 768 x 432 pixels, which are kept whatever the model
MOST_BYTES = 16 * 2**30
MOST_LEAVES = 10_000  # in full detail: forty hours of leaves of 15 s; retrieval is measured with as many nodes
BESIDE_TOKENS_BYTES = 64 * 2**10  # of a leaf: its pictures, and its caption with what was noted
SHARE = 4  # a quarter of what is free: the model works in the rest, and a session that is saved is copied there


def chosen_bytes(free_bytes: int, *, sessions: int, leaf_bytes: int) -> int:
    """The budget of one of `sessions` memories on a machine with so much free memory, in bytes.

    `leaf_bytes` are those of a leaf's tokens: C x P x D numbers. It is a power of two, if it is not the least that the
    model needs, so that it does not change with every few megabytes that something else takes.
    """
    most = min(free_bytes // (SHARE * sessions), MOST_BYTES, MOST_LEAVES * (leaf_bytes + BESIDE_TOKENS_BYTES))
    rounded = 1 << most.bit_length() - 1 if most > 0 else 0
    return max(rounded, LEAST_BYTES, SMALLEST_LEAVES * leaf_bytes)

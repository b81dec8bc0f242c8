"""The memory's tree as a page has it: only what changed since the page last got it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from streamchat.types import MemoryNode

Row = list[float | int | None]


class TreeView:
    """A page's view of the tree. The page names the last change that reached it; if one was lost, all is sent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roots: tuple[MemoryNode, ...] = ()
        self._rows: dict[int, Row] = {}
        self._serial = 0

    def changes(self, roots: tuple[MemoryNode, ...], serial: int) -> dict[str, Any]:
        """Nodes that are new or changed since the page's serial, and the ids of those that are gone.

        Nodes are immutable, so that a changed one is another.
        """
        with self._lock:
            known = self._rows if serial == self._serial else {}
            if roots != self._roots:
                self._serial += 1
                self._roots = roots
                self._rows = {node.id: _row(node, parent) for node, parent in flattened(roots)}
            return {
                "serial": self._serial,
                "all": not known,
                "nodes": [row for node, row in self._rows.items() if known.get(node) != row],
                "gone": [node for node in known if node not in self._rows],
            }


def flattened(roots: Sequence[MemoryNode]) -> list[tuple[MemoryNode, int | None]]:
    """All nodes of a forest with the id of their parent, parents first."""
    found: list[tuple[MemoryNode, int | None]] = []
    stack: list[tuple[MemoryNode, int | None]] = [(root, None) for root in reversed(roots)]
    while stack:
        node, parent = stack.pop()
        found.append((node, parent))
        stack += [(child, node.id) for child in reversed(node.children)]
    return found


def _row(node: MemoryNode, parent: int | None) -> Row:
    return [
        node.id,
        round(node.span.start, 2),
        round(node.span.end, 2),
        node.level,
        int(node.caption is not None),
        parent,
    ]

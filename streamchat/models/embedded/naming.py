"""Everyday names from the classifier's probabilities."""

from __future__ import annotations

import numpy as np

from streamchat.models.embedded import vocabulary

FEW = 60  # classes beyond the most probable do not count
FINE_SHARE = 0.55  # of a group's probability, for its one class to be named
ANIMAL, KNOWN_ANIMAL = 0.5, 0.3  # "animal" is said when all animals together pass one, and none the other


def groups(probabilities: np.ndarray, labels: tuple[str, ...]) -> dict[str, float]:
    """Probability of each everyday group; a class without a group stands for itself.

    `probabilities` is [1000]; classes that mean nothing for a whole picture are left out.
    """
    found: dict[str, float] = {}
    for number in map(int, np.argsort(-probabilities)[:FEW]):
        name = vocabulary.GROUP_OF.get(number) or vocabulary.class_name(number, labels)
        if name not in vocabulary.MEANINGLESS:
            found[name] = found.get(name, 0.0) + float(probabilities[number])
    animals = float(probabilities[: vocabulary.FIRST_NON_ANIMAL].sum())
    if animals > ANIMAL and max(found.values(), default=0.0) < KNOWN_ANIMAL:
        found["animal"] = animals
    return found


def finer(probabilities: np.ndarray, group: str, labels: tuple[str, ...]) -> str:
    """The one class that makes up a group's probability, or "" where its classes are hard to distinguish."""
    if group not in vocabulary.FINE_GROUPS:
        return ""
    classes = vocabulary.CLASSES_OF[group]
    best = max(classes, key=lambda number: probabilities[number])
    clear = probabilities[best] > FINE_SHARE * float(probabilities[list(classes)].sum())
    return vocabulary.class_name(best, labels) if clear else ""


def movable(probabilities: np.ndarray, labels: tuple[str, ...]) -> tuple[str, str, float]:
    """What a moving thing most probably is: group, finer name or "", probability. Scenery does not move."""
    found = {name: share for name, share in groups(probabilities, labels).items() if name in vocabulary.MOVABLE}
    if not found:
        return "", "", 0.0
    group = max(found, key=lambda name: found[name])
    return group, finer(probabilities, group, labels), found[group]

"""Names for the colors of pictures and of regions in them."""

from __future__ import annotations

import cv2
import numpy as np

from streamchat.models.embedded.detector import Box

NAMES = (
    "black",
    "white",
    "grey",
    "red",
    "orange",
    "yellow",
    "green",
    "turquoise",
    "blue",
    "purple",
    "pink",
    "brown",
    "beige",
)
SHADES, SHADE_WEIGHT = ("black", "grey"), 0.7  # parts of every thing lie in shadow: these count for less
MIN_SHARE = 0.12  # of a region, for a color to be named
SECOND_SHARE = 0.55  # of the first color's weight, for a second one to be named
SAMPLE_SIDE = 48  # regions are scaled down to this many pixels a side
SURROUNDINGS_WEIGHT = 0.5  # how much of a color around a thing is taken off the thing's own


def named(pixels: np.ndarray) -> np.ndarray:
    """The color of every pixel, uint8 [H, W, 3] RGB: indices [H, W] into NAMES."""
    hue, saturation, value = (
        channel.astype(np.int32) for channel in cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))
    )
    chroma = saturation * value // 255
    warm = (hue <= 28) | (hue >= 170)
    rules = [
        ("black", (value < 48) | ((value < 78) & (chroma < 22))),
        ("white", (chroma < 24) & (value > 186)),
        ("grey", (chroma < 24) | (saturation < 30)),
        ("beige", (hue >= 6) & (hue <= 28) & (saturation < 105) & (value > 150)),
        ("brown", (hue >= 3) & (hue <= 22) & (value < 165)),
        ("brown", warm & (value < 115) & (saturation < 140)),
        ("pink", ((hue < 8) | (hue > 150)) & (saturation < 120) & (value > 150)),
        ("pink", (hue > 150) & (hue <= 168)),
        ("red", (hue < 4) | (hue > 168) | ((hue < 7) & (value < 190))),
        ("orange", hue < 18),
        ("yellow", (hue < 30) & (value > 90)),
        ("green", hue < 80),
        ("turquoise", hue < 98),
        ("blue", hue < 131),
        ("purple", hue <= 150),
    ]
    return np.select([rule for _, rule in rules], [NAMES.index(name) for name, _ in rules], NAMES.index("grey"))


def shares(pixels: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """How much of a picture each color of NAMES covers, 0 to 1, [13]; pixels count by `weight` [H, W]."""
    if not pixels.size:
        return np.zeros(len(NAMES))
    flat = None if weight is None else weight.ravel()
    counts = np.bincount(named(pixels).ravel(), flat, len(NAMES))
    return counts / max(float(counts.sum()), 1e-9)


def main_colors(weights: np.ndarray, at_most: int = 2) -> tuple[str, ...]:
    """The names of the colors with the largest weights [13], strongest first; may be empty."""
    order = np.argsort(-weights)[:at_most]
    first = weights[order[0]]
    return tuple(
        NAMES[index] for index in order if weights[index] >= MIN_SHARE and weights[index] >= SECOND_SHARE * first
    )


def of_box(picture: np.ndarray, box: Box) -> tuple[str, ...]:
    """The colors of the thing in a box, see `weights_of_box`."""
    return main_colors(weights_of_box(picture, box))


def weights_of_box(picture: np.ndarray, box: Box) -> np.ndarray:
    """How much of each color the thing in a box has, [13]: of its middle, less what lies all around it too."""
    inside = _small(box.crop(picture))
    if not inside.size:
        return np.zeros(len(NAMES))
    own = shares(inside, _towards_the_middle(inside))
    around = shares(_small(box.part(-0.25, -0.25, 1.25, 1.25).crop(picture)), None)
    less: np.ndarray = np.maximum(own - SURROUNDINGS_WEIGHT * np.minimum(around, own), 0)
    return less * np.where(np.isin(NAMES, SHADES), SHADE_WEIGHT, 1.0)


def of_letters(picture: np.ndarray, box: Box) -> tuple[str, ...]:
    """The color of the letters in a line of text: that of the lesser part when bright and dark are set apart."""
    line = box.crop(picture)
    if min(line.shape[:2]) < 4:
        return ()
    grey = cv2.cvtColor(line, cv2.COLOR_RGB2GRAY)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    letters = bright if _on_the_rim(bright) < 0.5 else 1 - bright
    core = cv2.erode(letters, np.ones((2, 2), np.uint8))  # without the blended rim of the strokes
    return main_colors(shares(line, (core if core.sum() > 20 else letters).astype(np.float32)))[:1]


def _on_the_rim(bright: np.ndarray) -> float:
    """Share of the bright pixels in the outermost rows: the ground that letters stand on."""
    return float(np.concatenate([bright[0], bright[-1]]).mean())


def _small(region: np.ndarray) -> np.ndarray:
    """At most SAMPLE_SIDE pixels a side, picked rather than averaged, as mixing makes colors that are not there."""
    rows, columns = (max(1, -(-size // SAMPLE_SIDE)) for size in region.shape[:2])
    return region[::rows, ::columns]


def _towards_the_middle(region: np.ndarray) -> np.ndarray:
    """Weights [H, W] that fall off from the middle of a region, where the thing is, to its corners."""
    rows, columns = (np.linspace(-1, 1, size) for size in region.shape[:2])
    return np.exp(-1.5 * (rows[:, None] ** 2 + columns[None, :] ** 2))

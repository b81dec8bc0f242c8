"""What is to be seen in single pictures: things with their attributes, text, colors, light."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from streamchat.models.embedded import colors, naming, vocabulary
from streamchat.models.embedded.detector import Box, Detection, Detector
from streamchat.models.embedded.text_reader import Reader
from streamchat.picture_encoder.classifier import Classifier
from streamchat.picture_encoder.frame_cache import WeakFrameCache
from streamchat.threads import give_way
from streamchat.types import Frame

UNNAMED = "moving thing"  # label of what moves but cannot be named
MAX_THINGS = 20
NEWEST_SHARE = 0.3  # of the newest analysis in the smoothed duration
DOUBLE = 0.5  # overlap of two boxes, in shares of the smaller
NAMED_SCORE = 0.4  # a thing is analyzed more closely from this score on
OTHER_ANIMAL = 0.5  # probability with which the classifier overrules the detector's kind of animal
MAX_CROPS = 2  # things of a picture that are named more finely
MIN_CROP_SIDE = 36  # pixels; smaller crops are guesswork
MIN_CROP_SHARE = 0.004  # of the picture
PARTS = {  # of a person's box, in shares
    "head": Box(0.3, 0.0, 0.7, 0.12),
    "top": Box(0.25, 0.2, 0.75, 0.5),
    "bottom": Box(0.28, 0.58, 0.72, 0.86),
}
CLOSE_PARTS = {  # of the box of a person of whom only head and shoulders are to be seen
    "head": Box(0.3, 0.0, 0.7, 0.2),
    "top": Box(0.2, 0.75, 0.8, 1.0),
}
CLOSE_UP = 0.6  # of the picture's height, that such a box has
STANDS = 1.35  # a person's box is at least this much higher than wide when the legs are in it
BAR_LEVEL = 24  # black bars are darker than this
BAR_EDGE = 0.35  # of the row or column beside a bar is bright


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """One thing in one picture."""

    label: str
    score: float
    box: Box
    colors: tuple[str, ...] = ()
    color_histogram: np.ndarray | None = None  # how much of each color, [13], to know it again by
    finer: str = ""  # a more exact name, such as "green apple"
    parts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # colors of a person's "head", "top", "bottom"
    moving: bool = False  # found because it moves
    probabilities: np.ndarray | None = None  # [1000], if it moves and the detector has no name for it


@dataclass(frozen=True, slots=True)
class TextLine:
    """One line of text in one picture."""

    text: str
    score: float
    box: Box
    colors: tuple[str, ...]  # of the letters
    on: str  # the thing that it is written on, if any


@dataclass(frozen=True, slots=True, eq=False)
class FrameAnalysis:
    """What was seen in one picture."""

    pts_seconds: float
    view: Box  # the picture without black bars
    things: tuple[Thing, ...]
    texts: tuple[TextLine, ...]
    probabilities: np.ndarray  # float32 [1000], of the classifier
    colors: np.ndarray  # share of each color of colors.NAMES, [13]
    areas: tuple[tuple[str, tuple[str, ...]], ...]  # colors of the "ground" and "above", things left out
    brightness: float  # 0 to 255
    saturation: float  # 0 to 255


class FrameAnalyzer:
    """Analyzes frames. Safe for any number of threads; what was seen of a frame is kept as long as the frame is."""

    def __init__(self, classifier: Classifier, detector: Detector, reader: Reader) -> None:
        self.classifier = classifier
        self._detector = detector
        self._reader = reader
        # Text is read beside the rest: each library has one thread, and two cores would be one.
        self._beside = ThreadPoolExecutor(1, "embedded-reading", initializer=give_way)
        self.analysis_seconds = 0.0  # that an analysis takes, smoothed over the last ones
        self._analyses: WeakFrameCache[FrameAnalysis] = WeakFrameCache()

    def analyze(self, frames: Sequence[Frame], between: Callable[[], None]) -> list[FrameAnalysis]:
        """What is to be seen in frames, in time order; `between` is called again and again while they are analyzed."""
        return [self._analysis(frame, between) for frame in frames]

    def has_analyzed(self, frame: Frame) -> bool:
        """Whether a frame was analyzed."""
        return self._analyses.get(frame.data) is not None

    def find(self, picture: np.ndarray) -> list[Detection]:
        """What the detector sees in a picture or a crop, uint8 [H, W, 3] RGB."""
        return self._detector.find(picture)

    def _analysis(self, frame: Frame, between: Callable[[], None]) -> FrameAnalysis:
        known = self._analyses.get(frame.data)
        if known is not None:
            return replace(known, pts_seconds=frame.pts_seconds)
        waited = 0.0

        def wait() -> None:
            nonlocal waited
            began = time.perf_counter()
            between()
            waited += time.perf_counter() - began

        started = time.perf_counter()
        analysis = self._analyze(frame, wait)
        self.analysis_seconds += NEWEST_SHARE * (time.perf_counter() - started - waited - self.analysis_seconds)
        self._analyses.put(frame.data, analysis)
        return analysis

    def _analyze(self, frame: Frame, between: Callable[[], None]) -> FrameAnalysis:
        view = without_bars(frame.data)
        picture = view.crop(frame.data)
        between()
        reading = self._beside.submit(self._reader.read, picture)
        try:
            things = self._things(picture)
            between()
            probabilities = self._of_whole(frame.data, picture)
            between()
        except BaseException:
            reading.cancel()
            raise
        lines = reading.result()
        hsv = cv2.cvtColor(picture[::4, ::4], cv2.COLOR_RGB2HSV)
        return FrameAnalysis(
            pts_seconds=frame.pts_seconds,
            view=Box(0, 0, view.width, view.height),
            things=tuple(things),
            texts=tuple(
                TextLine(
                    line.text, line.score, line.box, colors.of_letters(picture, line.box), _below(line.box, things)
                )
                for line in lines
            ),
            probabilities=probabilities,
            colors=colors.shares(picture[::4, ::4]),
            areas=_areas(picture, things),
            brightness=float(hsv[:, :, 2].mean()),
            saturation=float(hsv[:, :, 1].mean()),
        )

    def _of_whole(self, frame: np.ndarray, picture: np.ndarray) -> np.ndarray:
        """Class probabilities [1000]: the mean of those of the picture and of its middle square.

        The picture is a frame's without its bars; without any it was classified when the frame was encoded.
        """
        whole = self.classifier.of_frame(frame if picture.shape == frame.shape else picture)
        height, width = picture.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        middle = self.classifier.probabilities([picture[top : top + side, left : left + side]])[0]
        mean: np.ndarray = (whole + middle) / 2
        return mean

    def _things(self, picture: np.ndarray) -> list[Thing]:
        found = _without_doubles(self._detector.find(picture))[:MAX_THINGS]
        things = [_thing(picture, detection) for detection in found]
        things = [_with_parts(picture, thing) if thing.label == "person" else thing for thing in things]
        self._name_finely(picture, things)
        return things

    def _name_finely(self, picture: np.ndarray, things: list[Thing]) -> None:
        """Let the classifier bear out and name more exactly the largest things, in place."""
        smallest = max(MIN_CROP_SHARE * picture.shape[0] * picture.shape[1], MIN_CROP_SIDE**2)
        largest = sorted(
            (
                number
                for number, thing in enumerate(things)
                if thing.label != "person" and thing.box.area > smallest and thing.score > NAMED_SCORE
            ),
            key=lambda number: -things[number].box.area,
        )[:MAX_CROPS]
        for number in largest:
            thing = things[number]
            crop = thing.box.part(-0.1, -0.1, 1.1, 1.1).crop(picture)
            label = self._as_animal(crop, thing.label)
            name, borne_out = self.name_crop(crop, label)
            things[number] = replace(thing, label=label, finer=name, score=min(0.99, thing.score + 0.3 * borne_out))

    def _as_animal(self, crop: np.ndarray, label: str) -> str:
        """What an animal is: the detector knows ten kinds and calls every other one by the nearest of them."""
        own = vocabulary.DETECTED_ANIMALS.get(label)
        if own is None:
            return label
        probabilities = self.classifier.probabilities([crop])[0]
        found = naming.groups(probabilities, self.classifier.labels)
        animals = {name: share for name, share in found.items() if name in vocabulary.HYPERNYMS["animal"]}
        best = max(animals, key=lambda name: animals[name], default=own)
        return best if best != own and animals[best] > OTHER_ANIMAL else label

    def name_crop(self, crop: np.ndarray, label: str) -> tuple[str, float]:
        """A finer name for a crop that the detector calls `label`, or "", and how far the classifier agrees, 0 to 1."""
        classes = vocabulary.BORNE_OUT_BY.get(label, ())
        if not classes:
            return "", 0.0
        probabilities = self.classifier.probabilities([crop])[0]
        share = float(probabilities[list(classes)].sum())
        best = max(classes, key=lambda number: probabilities[number])
        sure = probabilities[best] > 0.3 and vocabulary.GROUP_OF.get(best) in vocabulary.FINE_GROUPS
        name = vocabulary.class_name(best, self.classifier.labels) if sure else ""
        return ("" if name == label else name), share


def _thing(picture: np.ndarray, found: Detection) -> Thing:
    color_histogram = colors.weights_of_box(picture, found.box)
    return Thing(
        found.label, found.score, found.box, colors.main_colors(color_histogram), color_histogram=color_histogram
    )


def _without_doubles(found: Sequence[Detection]) -> list[Detection]:
    """Detections, the most certain first, without weak ones that lie on a surer one of the same or a like name."""
    kept: list[Detection] = []
    for one in found:
        doubles = (
            other.box.shared(one.box) > DOUBLE * min(other.box.area, one.box.area)
            for other in kept
            if other.label == one.label or any({other.label, one.label} <= alike for alike in vocabulary.ALIKE)
        )
        if one.score > NAMED_SCORE or not any(doubles):
            kept.append(one)
    return kept


def _with_parts(picture: np.ndarray, person: Thing) -> Thing:
    """A person with the colors of head, upper and lower half; the lower only if the legs can be in the box."""
    if _stands(person.box):
        parts = PARTS
    elif person.box.height > CLOSE_UP * picture.shape[0]:
        parts = CLOSE_PARTS
    else:
        parts = {name: PARTS[name] for name in ("head", "top")}
    found = tuple(
        (name, colors.of_box(picture, person.box.part(part.left, part.top, part.right, part.bottom)))
        for name, part in parts.items()
    )
    return replace(person, parts=found, colors=dict(found)["top"])


def _stands(box: Box) -> bool:
    return box.height > STANDS * box.width


def _below(line: Box, things: Sequence[Thing]) -> str:
    """The label of the smallest thing that a line of text lies on, or ""."""
    around = [thing for thing in things if thing.box.shared(line) > 0.7 * line.area]
    return min(around, key=lambda thing: thing.box.area).label if around else ""


def _areas(picture: np.ndarray, things: Sequence[Thing]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Colors of the lowest and the highest fifth of the picture, as far as no thing stands there."""
    height, width = picture.shape[:2]
    free = np.ones((height, width), np.float32)
    for thing in things:
        thing.box.crop(free)[:] = 0
    fifth = max(1, height // 5)
    rows = {"ground": slice(height - fifth, height), "above": slice(0, fifth)}
    return tuple(
        (name, colors.main_colors(colors.shares(picture[part][::2, ::2], free[part][::2, ::2])))
        for name, part in rows.items()
    )


def without_bars(picture: np.ndarray) -> Box:
    """The picture without black bars at its sides or at top and bottom.

    A bar is black throughout, ends in a straight edge and has an equal on the other side; a dark scene has no such.
    """
    brightest = picture[::2, ::2].max(2)
    top, bottom = _bars(brightest)
    left, right = _bars(brightest.T)
    height, width = picture.shape[:2]
    return Box(2 * left, 2 * top, width - 2 * right, height - 2 * bottom)


def _bars(brightest: np.ndarray) -> tuple[int, int]:
    """Rows of black bars at the top and the bottom; 0 and 0 if these are no bars."""
    bright = np.flatnonzero(np.percentile(brightest, 99, axis=1) > BAR_LEVEL)
    if not len(bright):
        return 0, 0
    first, last = int(bright[0]), int(bright[-1])
    before, after = first, len(brightest) - 1 - last
    alike = abs(before - after) <= 0.03 * len(brightest) and last - first > 0.3 * len(brightest)
    straight = all(
        (brightest[row] > BAR_LEVEL).mean() > BAR_EDGE for row in (min(first + 2, last), max(last - 2, first))
    )
    return (before + (before > 0), after + (after > 0)) if alike and straight and before + after > 0 else (0, 0)

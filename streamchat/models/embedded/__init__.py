"""Built-in: recognizes common objects, people and on-screen text; does not understand actions; CPU, no download.

Real weights that come with packages. Colors, places and changes are noted with what is recognised, and questions are
answered from these notes alone; what was not noted is said to be so.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from streamchat.embedding import TextEmbedder, minilm
from streamchat.errors import StreamChatError
from streamchat.models.base import takes_nothing
from streamchat.models.embedded import vocabulary
from streamchat.models.embedded.answering import Answerer
from streamchat.models.embedded.captioning import caption_text, merged
from streamchat.models.embedded.detector import Detector
from streamchat.models.embedded.frame_analysis import FrameAnalyzer
from streamchat.models.embedded.motion import with_moving
from streamchat.models.embedded.observation import Observation, data_of, observations_of
from streamchat.models.embedded.observing import observe
from streamchat.models.embedded.prefetch import Prefetch
from streamchat.models.embedded.text_reader import Reader
from streamchat.models.scheduler import CancelToken, Priority, Scheduler
from streamchat.picture_encoder import PictureEncoder, unit
from streamchat.picture_encoder.classifier import Classifier
from streamchat.types import Caption, Clip, Context, Evidence, Frame, Span

__all__ = ["EmbeddedModel", "build"]

OBJECT_WEIGHT, PERSON_WEIGHT = 0.5, 0.15  # of a detected thing in a caption's vector
CALLS = 8  # that are served at once


class EmbeddedModel:
    """Model of `load_model("embedded")`; its methods may be called from several threads at the same time."""

    name = "Built-in (recognizes common objects, people and on-screen text; does not understand actions)"
    tokens_per_frame = PictureEncoder.tokens_per_frame
    dim = PictureEncoder.dim
    number_bytes = 4
    prompt = None
    captions_from_pictures = True

    def __init__(self, analyzer: FrameAnalyzer, embedder: TextEmbedder) -> None:
        self._analyzer = analyzer
        self._embedder = embedder
        self._labels = analyzer.classifier.labels
        self._pictures = PictureEncoder(analyzer.classifier, embedder)
        self._object_vectors = dict(zip(vocabulary.COCO, embedder.embed(vocabulary.COCO), strict=True))
        self._scheduler = Scheduler(CALLS)
        self._prefetch = Prefetch(analyzer)
        self._answerer = Answerer(embedder, self)

    def scheduler(self, priority: Priority) -> Scheduler:  # noqa: ARG002 - there is one copy of it
        """Serves several calls at once; the others rest while a question is answered."""
        return self._scheduler

    def encode(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Vectors of pictures in the space of text vectors: float32 [N, 1, 384], unit norm; see `PictureEncoder`."""
        self._prefetch.add(frames)
        return self._pictures.encode(frames)

    def caption(self, clip: Clip, cancel: CancelToken) -> Caption:
        """What is to be seen in a clip's keyframes: text, typed observations, and a vector for retrieval."""
        self._prefetch.newest(cancel)  # first, so that a question about now finds it
        observations, image = self._observe(clip.keyframes, clip.starts_scene, frozenset(), between=cancel.check)
        text = caption_text(observations)
        return Caption(text, data_of(observations), unit(unit(image) + self._embedder.embed([text])[0]))

    def summarize(self, captions: Sequence[Caption], cancel: CancelToken) -> Caption:
        """The observations of captions, in time order, merged; at most 64 of them."""
        cancel.check()
        observations = merged([observations_of(caption) for caption in captions])
        text = caption_text(observations)
        vectors = [caption.embedding for caption in captions if caption.embedding is not None]
        own = self._embedder.embed([text])[0]
        mean = unit(np.mean(vectors, 0)) if vectors else np.zeros_like(own)
        return Caption(text, data_of(observations), unit(mean + own))

    def answer(self, context: Context, cancel: CancelToken) -> Generator[str | Evidence, None, None]:
        """Answer from what was noted and from what is on the screen; names the moments that the answer rests on."""
        for pieces in self._answerer.answer(context, cancel.check):
            for piece in pieces:
                cancel.check()
                yield piece

    def check_alert(self, question: str, clip: Clip, caption: Caption, cancel: CancelToken) -> str | None:
        """By what the caption notes of the clip; see `alerts`."""
        cancel.check()
        return self._answerer.check_alert(question, clip, caption)

    def idle(self, cancel: CancelToken) -> bool:
        """Analyze one frame ahead of any question: the newest, or after a pause one of those before it."""
        return self._prefetch.newest(cancel) or self._prefetch.backfill(cancel)

    @property
    def analysis_seconds(self) -> float:
        """How long analyzing a frame takes, by those before."""
        return self._analyzer.analysis_seconds

    def has_analyzed(self, frame: Frame) -> bool:
        """Whether a frame was analyzed, so that observing it again costs little."""
        return self._analyzer.has_analyzed(frame)

    def observe(
        self, frames: Sequence[Frame], starts_scene: bool, expected: frozenset[str], *, hurried: bool
    ) -> list[Observation]:
        """Observations of frames, in time order, while a question waits for them."""
        return self._observe(frames, starts_scene, expected, between=lambda: None, hurried=hurried)[0]

    def _observe(
        self,
        frames: Sequence[Frame],
        starts_scene: bool,
        expected: frozenset[str],
        *,
        between: Callable[[], None],
        hurried: bool = False,
    ) -> tuple[list[Observation], np.ndarray]:
        """Observations of frames in time order, and their vector [384].

        Things with an `expected` label were seen just before, so that less certainty is asked of them. What moves and
        has no name is not searched for in a hurry.
        """
        analyses = self._analyzer.analyze(frames, between)
        if not hurried:
            analyses = with_moving(frames, analyses, self._analyzer)
        observations = observe(analyses, self._labels, expected)
        if starts_scene and frames[0].pts_seconds > 0:
            start = Span(frames[0].pts_seconds, frames[0].pts_seconds)
            observations.insert(0, Observation(kind="view", label="new scene", span=start))
        image = self._pictures.vector(np.mean([analysis.probabilities for analysis in analyses], 0))
        for one in observations:
            if one.kind == "count" and one.label in self._object_vectors:
                weight = PERSON_WEIGHT if one.label == "person" else OBJECT_WEIGHT
                image = image + weight * one.score * self._object_vectors[one.label]
        return observations, image


def build(argument: str = "", device: str | None = None) -> EmbeddedModel:
    """Load the built-in model's weights, all checked by SHA-256.

    Raises InputError for an argument or a device, of which it takes none, and StreamChatError, with what to do, if a
    package or a file is missing or another one than expected.
    """
    takes_nothing("embedded", argument, device)
    try:
        return EmbeddedModel(FrameAnalyzer(Classifier(), Detector(), Reader()), minilm())
    except ImportError as error:
        package = (error.name or "").replace("_", "-")
        raise StreamChatError(f"the built-in model needs the package {package}: run `pip install {package}`") from error

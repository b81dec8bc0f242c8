"""StreamBench (Xiong et al. 2025): 275 videos: from the web, first-person, and movies; six types of question."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evaluation.annotations import Annotations, chosen, read, repeats
from evaluation.samples import Choice, Sample
from evaluation.unpacking import unpack
from streamchat.checkpoints import hub
from streamchat.errors import InputError
from streamchat.video.file import VideoFile, open_video

REPO = "Barry-12138/StreamBench_v0.3"
QUESTIONS = "streaming_bench*.json"
VIDEO_ENDINGS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"}
MOST_NAMED = 5  # paths in an error
REVISION_FILE = "revision.txt"  # the commit that was downloaded, beside the data


class StreamBench:
    """The benchmark in a folder, in any of the layouts in which it is found."""

    name = "streambench"
    repeats_pictures = False
    questions = (QUESTIONS, "*.json")  # names of the file of questions, the first that is there

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._folder = choice.folder
        given = choice.root if choice.root is not None and choice.root.is_file() else None
        self.file = given or questions_file(self._folder, self.questions)
        self.annotations = self._chosen(read(self.file))
        self.problems = self.annotations.problems

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The digest of the questions, the revision if it was downloaded by us, and what was chosen."""
        revision = self._folder / REVISION_FILE
        return {
            "questions_sha256": hashlib.sha256(self.file.read_bytes()).hexdigest(),
            "revision": revision.read_text().strip() if revision.is_file() else None,
            "subset": self._choice.subset,
            "repeats": self._choice.repeats,
            "subset_seed": self._choice.seed if self._choice.subset else None,
        }

    def samples(self) -> list[Sample]:
        """The samples whose questions are sound, whether or not their video is there."""
        return self.annotations.samples()

    def open(self, sample: Sample, *, max_side: int) -> VideoFile:
        """The sample's video; raises InputError if it is missing or cannot be read."""
        return open_video(self.find(sample), max_side=max_side)

    def find(self, sample: Sample) -> Path:
        """Where a sample's video lies; InputError if it lies nowhere below the folder.

        A path that leads out of the folder is not followed: only its name is looked for.
        """
        return self._found(sample)[0]

    def by_name_alone(self, sample: Sample) -> Path | None:
        """Where a sample's video lies if nothing but its name says so; None if its path does. Raises as `find`."""
        path, whole = self._found(sample)
        return None if whole else path

    def _found(self, sample: Sample) -> tuple[Path, bool]:
        """A sample's video, and whether its whole path was found."""
        path = Path(sample.video)
        leads_out = path.is_absolute() or ".." in path.parts
        if not leads_out and (direct := self._folder / path).is_file():
            return direct, True
        asked, domain = _comparable(sample.video), _comparable(sample.domain)[-1:]
        candidates = [(parts, video) for parts, video in self._videos if parts[-1:] == asked[-1:]]
        may_be_whole = len(asked) > 1 and not leads_out
        wholly = [video for parts, video in candidates if may_be_whole and parts[-len(asked) :] == asked]
        of_domain = [video for parts, video in candidates if domain and domain[0] in parts[:-1]]
        found = wholly or of_domain or [video for _, video in candidates]
        where = f"entry {sample.entry}: the video {sample.video}"
        if not found:
            raise InputError(f"{where} is not below {self._folder}")
        if len(found) > 1:
            several = ", ".join(str(video.relative_to(self._folder)) for video in found[:MOST_NAMED])
            raise InputError(f"{where} is not below {self._folder} under its path, and of its name are {several}")
        return found[0], bool(wholly)

    @cached_property
    def _videos(self) -> list[tuple[list[str], Path]]:
        """Every video below the folder with its path to compare; what macOS leaves beside files (`._*`) is none."""
        return [
            (_comparable(path.relative_to(self._folder).as_posix()), path)
            for path in sorted(self._folder.rglob("*"))
            if path.suffix.lower() in VIDEO_ENDINGS and not path.name.startswith(".")
        ]

    def missing(self) -> list[Sample]:
        """The samples whose video lies nowhere below the folder."""
        return [sample for sample in self.samples() if not self._is_there(sample)]

    def _is_there(self, sample: Sample) -> bool:
        try:
            return self.find(sample).is_file()
        except InputError:
            return False

    def _chosen(self, whole: Annotations) -> Annotations:
        choice = self._choice
        table = chosen(whole.table, choice.subset, choice.seed, with_repeats=choice.repeats)
        return replace(whole, table=table)


def _comparable(path: str) -> list[str]:
    """The parts of a path, the same however its slashes, capitals and composed letters are written."""
    return [part for part in unicodedata.normalize("NFC", path).casefold().replace("\\", "/").split("/") if part]


def questions_file(folder: Path, patterns: Sequence[str] = StreamBench.questions) -> Path:
    """The file of questions in a folder; InputError unless there is just one."""
    found = next((paths for paths in (sorted(folder.glob(pattern)) for pattern in patterns) if paths), [])
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{folder} must hold one file of questions ({' or '.join(patterns)}), and has {names}")
    return found[0]


def look_up(folder: Path) -> hub.Remote:
    """What the Hub has of the benchmark, in 3 seconds, and how much of it is missing in a folder."""
    return hub.look_up(REPO, lambda name: not Path(name).name.startswith("."), kind="dataset", folder=folder)


def download(folder: Path, progress: hub.Progress, count: int | None = None, seed: int = 0) -> Path:
    """Fetch the benchmark into a folder, unpack what is packed, and note the revision.

    With `count`, only the videos of a subset of so many questions, if they are not packed. Raises what `hub.fetch`
    raises, and InputError if an archive would write outside of the folder.
    """
    whole = look_up(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if count is not None:
        questions = {name for name in whole.files if name.endswith(".json")}
        hub.fetch(_only(whole, questions, folder), lambda *_: None)
        rows = chosen(read(questions_file(folder)).table, count, seed)
        names = {Path(video).name for video in rows["video"]}
        unneeded = {name for name in whole.files if Path(name).suffix in VIDEO_ENDINGS and Path(name).name not in names}
        whole = _only(whole, set(whole.files) - unneeded, folder)
    hub.fetch(whole, progress)
    unpack(folder)
    (folder / REVISION_FILE).write_text(whole.revision + "\n")
    return folder


def _only(remote: hub.Remote, names: set[str], folder: Path) -> hub.Remote:
    """The same, of some of the files."""
    return hub.look_up(remote.repo, names.__contains__, kind=remote.kind, folder=folder)


def validate(bench: StreamBench) -> tuple[dict[str, Any], list[str]]:
    """What a benchmark holds, in numbers, and everything that is wrong with it; each video is opened once."""
    table, samples = bench.annotations.table, bench.samples()
    wrong = [*bench.annotations.problems, *bench.annotations.remarks]
    by_name = _by_name(bench, samples)
    wrong += [
        f"{video} was found by its name alone, as {found}"
        for video, found in by_name.items()
        if len(_comparable(video)) > 1
    ]
    durations: dict[str, float | None] = {}
    for sample in samples:
        if sample.video not in durations:
            durations[sample.video] = _duration(bench, sample, wrong)
        end = durations[sample.video]
        late = [question for question in sample.questions if end is not None and question.time_seconds > end]
        wrong += [
            f"entry {sample.entry}, {question.index}: is asked at {question.time_seconds:g} s, and {sample.video} ends "
            f"at {end:.1f} s; it is asked there, and flagged"
            for question in late
        ]
    counts = {
        "entries": bench.annotations.entries,
        "videos": len(set(table["video"])),
        "questions": len(table),
        "repeats": len(repeats(table)),
        "types": dict(Counter(table["kind"]).most_common()),
        "domains": dict(Counter(sample.domain for sample in samples).most_common()),
        "entries_without_a_question": bench.annotations.entries - len(samples),
        "videos_found_by_name_alone": len(by_name),
        "missing_or_unreadable_videos": sum(1 for end in durations.values() if end is None),
    }
    return counts, wrong


def _duration(bench: StreamBench, sample: Sample, wrong: list[str]) -> float | None:
    """Length of a sample's video in seconds; None, and a line in `wrong`, if it is missing or cannot be read."""
    try:
        return bench.open(sample, max_side=64).duration_seconds or float("inf")
    except InputError as error:
        wrong.append(str(error))
        return None


def _by_name(bench: StreamBench, samples: Sequence[Sample]) -> dict[str, Path]:
    """The videos that were found by nothing but their names, and where."""
    found: dict[str, Path] = {}
    for sample in samples:
        with suppress(InputError):
            if (path := bench.by_name_alone(sample)) is not None:
                found[sample.video] = path
    return found


def build(choice: Choice) -> StreamBench:
    """The benchmark for the command line and the app."""
    return StreamBench(choice)

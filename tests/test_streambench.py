"""StreamBench's file and folders: read, checked, chosen from, fetched and unpacked."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import benchmark_roots
import hub_server
import pytest
from benchmark_roots import FILE, entries, point

from evaluation import annotations as files
from evaluation import tab
from evaluation.__main__ import main
from evaluation.benchmarks.jsonl import OwnVideos
from evaluation.benchmarks.streambench import REPO, StreamBench, validate
from evaluation.samples import Choice
from evaluation.unpacking import unpack
from streamchat.errors import InputError, StreamChatError
from streamchat.types import Span

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return benchmark_roots.write(tmp_path / "root")


def read(tmp_path: Path, content: Any) -> files.Annotations:
    file = tmp_path / FILE
    file.write_text(json.dumps(content))
    return files.read(file)


class TestAnnotations:
    def test_questions_come_in_time_order_with_their_codes_and_without_the_prefix(self, tmp_path: Path) -> None:
        found = read(tmp_path, entries())
        first, second = found.samples()
        assert [question.time_seconds for question in first.questions] == [3, 5, 7, 7]
        assert [question.index for question in first.questions] == [0, 2, 1, 3]
        assert [question.kind for question in first.questions] == ["OS", "SF", "SM", "SM"]
        assert (first.video, second.video) == ("Ego/bikes.mp4", "bunny.mp4")
        assert found.problems == ()
        assert "entry 0" in found.remarks[0]

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (
                point("soon", "What?", "That.", "OS"),
                "entry 0, 4: time must be a number of seconds, 0 or more, got 'soon'",
            ),
            (point(-1, "What?", "That.", "OS"), "got -1"),
            (point(True, "What?", "That.", "OS"), "got True"),
            (point(1, " ", "That.", "OS"), "entry 0, 4: has no text question"),
            (point(1, "Is that \ud83d?", "That.", "OS"), "entry 0, 4: has no text question"),
            ({"time": 1, "question": "What?", "class": "OS"}, "has no text answer"),
            ("What?", "a question must be an object"),
        ],
    )
    def test_a_bad_question_is_named_and_the_others_run(self, bad: Any, said: str, tmp_path: Path) -> None:
        content = entries()
        content[0]["breakpoint"].append(bad)
        found = read(tmp_path, content)
        assert said in found.problems[0]
        assert len(found.table) == 6

    @pytest.mark.parametrize(
        "evidence",
        [[], [1], [1, 2, 3], [2, 1], [-1, 2], [1, 5.5], ["1", "2"], [True, 2], [1, float("nan")], {"start": 1}, 3, ""],
    )
    def test_evidence_that_is_no_span_before_its_question_is_named(self, evidence: Any, tmp_path: Path) -> None:
        content = entries()
        content[0]["breakpoint"].append({**point(5, "What?", "That.", "OS"), "evidence": evidence})
        found = read(tmp_path, content)
        assert found.problems[0].startswith(f"entry 0, 4: evidence must be [start, end] in seconds, got {evidence!r}")
        assert len(found.table) == 6

    def test_evidence_is_known_where_it_is_given(self, tmp_path: Path) -> None:
        content = entries()
        content[0]["breakpoint"][0]["evidence"] = [1, 2.5]
        content[0]["breakpoint"][1]["evidence"] = None
        spans = [question.reference_span for question in read(tmp_path, content).samples()[0].questions]
        assert spans == [Span(1.0, 2.5), None, None, None]

    @pytest.mark.parametrize(
        "bad", [7, {"info": {}}, {"info": {"class_1": "Ego"}, "breakpoint": []}, {"info": [], "breakpoint": {}}]
    )
    def test_a_bad_entry_is_named_and_the_others_run(self, bad: Any, tmp_path: Path) -> None:
        found = read(tmp_path, [bad, *entries()])
        assert found.problems[0].startswith("entry 0: ")
        assert [sample.entry for sample in found.samples()] == [1, 2]

    def test_a_file_in_which_everything_is_bad_is_read_and_all_of_it_listed(self, tmp_path: Path) -> None:
        found = read(tmp_path, [7, {"info": {"video_path": "a.mp4", "class_1": "Ego"}, "breakpoint": ["What?"]}])
        assert (found.entries, len(found.table), len(found.problems)) == (2, 0, 2)
        assert found.table.features == files.FEATURES

    def test_lines_are_parsed_one_by_one_and_named_by_their_numbers(self, tmp_path: Path) -> None:
        first, second = entries()
        first["breakpoint"][0]["question"] = "What\u2028is there?"
        lines = [json.dumps(first, ensure_ascii=False), "", "{torn", "7", json.dumps(second)]
        (tmp_path / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = files.read(tmp_path / "questions.jsonl")
        assert [sample.entry for sample in found.samples()] == [0, 3]
        assert found.entries == 4
        assert found.problems[0].startswith("line 3: cannot be read as JSON")
        assert found.problems[1].startswith("line 4: must be")

    @pytest.mark.parametrize("content", [{}, [], "text", 3])
    def test_what_is_no_list_of_entries_is_refused_with_the_form(self, content: Any, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="must hold a list of entries"):
            read(tmp_path, content)

    def test_a_file_that_is_no_json_is_named(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_text("[{")
        with pytest.raises(InputError, match=r"streaming_bench_v0\.3\.json cannot be read as JSON"):
            files.read(tmp_path / FILE)

    def test_a_byte_order_mark_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"\xef\xbb\xbf" + json.dumps(entries()).encode())
        assert len(files.read(tmp_path / FILE).table) == 6

    def test_repeats_are_found_and_can_be_left_out(self, tmp_path: Path) -> None:
        table = read(tmp_path, entries()).table
        assert files.repeats(table) == [3]
        assert len(files.without_repeats(table)) == 5


class TestSubset:
    @pytest.fixture
    def table(self, tmp_path: Path) -> Any:
        """60 entries: half of one domain, a third and a sixth of the others; their types in turn."""
        content = [
            {
                "info": {"video_path": f"{number}.mp4", "class_1": "AAABBC"[number % 6]},
                "breakpoint": [
                    point(time, f"What {time}?", "That.", ["OS", "LM", "SM", "CI", "KG", "SF"][(number + time) % 6])
                    for time in range(6)
                ],
            }
            for number in range(60)
        ]
        return read(tmp_path, content).table

    def test_it_has_the_shares_of_the_whole_and_whole_dialogues(self, table: Any) -> None:
        chosen = files.subset(table, 72)
        assert len(chosen) == 72
        assert Counter(chosen["domain"]) == {"A": 36, "B": 24, "C": 12}
        assert set(Counter(chosen["kind"]).values()) == {12}
        assert set(Counter(chosen["entry"]).values()) == {6}

    def test_of_the_last_dialogue_the_earlier_questions_are_taken(self, table: Any) -> None:
        chosen = files.subset(table, 10)
        cut = [sample for sample in files.Annotations(chosen, 60, (), ()).samples() if len(sample.questions) == 4]
        assert [question.time_seconds for question in cut[0].questions] == [0, 1, 2, 3]

    def test_a_seed_gives_one_subset_and_another_seed_another(self, table: Any) -> None:
        one, same, other = (files.subset(table, 12, seed)["entry"] for seed in (1, 1, 2))
        assert list(one) == list(same)
        assert list(one) != list(other)

    def test_what_is_run_without_repeats_has_the_videos_of_what_is_run_with_them(self, tmp_path: Path) -> None:
        content = [
            {
                "info": {"video_path": f"{number % 9}.mp4", "class_1": "AB"[number % 2]},
                "breakpoint": [point(time, f"What {time}?", "That.", "OS") for time in range(2 + number % 3)],
            }
            for number in range(18)
        ]
        table = read(tmp_path, content).table
        for count in (1, 5, 12):
            once = files.chosen(table, count, with_repeats=False)
            again = files.chosen(table, count)
            assert len(once) == count
            assert set(once["video"]) == set(again["video"])
            assert len(again) - len(files.repeats(again)) == count
        assert len(files.chosen(table, 12)) > 12

    @pytest.mark.parametrize("count", [0, -1, 361])
    def test_a_size_that_cannot_be_is_refused(self, count: int, table: Any) -> None:
        with pytest.raises(InputError, match="from 1 to 360"):
            files.subset(table, count)


class TestFolder:
    def test_videos_are_found_in_every_layout(self, root: Path) -> None:
        bench = StreamBench(Choice(root=root))
        found = [bench.find(sample).relative_to(root).as_posix() for sample in bench.samples()]
        assert found == ["Ego/bikes.mp4", "Movie/Movie/bunny.mp4"]

    @pytest.mark.parametrize(
        ("asked", "there"),
        [
            ("Ego\\cam\\x.mp4", "Ego/cam/x.mp4"),
            ("ego/CAM/X.MP4", "Ego/cam/x.mp4"),
            ("Ego/cafe\u0301.mp4", "videos/Ego/caf\u00e9.mp4"),
            ("a/b:c [1] %d.mp4", "data/a/b:c [1] %d.mp4"),
        ],
    )
    def test_a_path_written_otherwise_is_found(self, asked: str, there: str, tmp_path: Path) -> None:
        entry = {"info": {"video_path": asked, "class_1": "Ego"}, "breakpoint": [point(1, "A?", "B.", "CI")]}
        root = benchmark_roots.write(tmp_path / "root", [entry])
        (root / there).parent.mkdir(parents=True, exist_ok=True)
        (root / there).write_bytes(b"video")
        bench = StreamBench(Choice(root=root))
        (sample,) = bench.samples()
        assert bench.find(sample) == root / there
        assert bench.by_name_alone(sample) is None

    @pytest.mark.parametrize(("video", "domain"), [("/", "Ego"), ("//x.mp4", "/"), ("\\", "\\")])
    def test_names_of_nothing_but_slashes_are_missing(self, video: str, domain: str, tmp_path: Path) -> None:
        entry = {"info": {"video_path": video, "class_1": domain}, "breakpoint": [point(1, "A?", "B.", "CI")]}
        bench = StreamBench(Choice(root=benchmark_roots.write(tmp_path / "root", [entry])))
        with pytest.raises(InputError, match="is not below"):
            bench.find(bench.samples()[0])

    def test_another_cameras_video_of_the_same_name_is_not_taken(self, tmp_path: Path) -> None:
        entry = {"info": {"video_path": "cam3/x.mp4", "class_1": "None"}, "breakpoint": [point(1, "A?", "B.", "CI")]}
        root = benchmark_roots.write(tmp_path / "root", [entry])
        for camera in ("cam1", "cam2"):
            (root / camera).mkdir()
            (root / camera / "x.mp4").write_bytes(b"video")
        bench = StreamBench(Choice(root=root))
        with pytest.raises(InputError, match=r"cam3/x.mp4 is not below .*, and of its name are cam1/x.mp4, cam2/x.mp4"):
            bench.find(bench.samples()[0])
        assert bench.missing() == bench.samples()
        (root / "cam2" / "x.mp4").unlink()
        again = StreamBench(Choice(root=root))
        assert again.by_name_alone(again.samples()[0]) == root / "cam1" / "x.mp4"

    def test_of_videos_with_one_name_that_of_the_domain_is_taken(self, root: Path) -> None:
        (root / "Ego" / "all_videos").mkdir()
        (root / "Ego" / "all_videos" / "bunny.mp4").write_bytes(b"another")
        bench = StreamBench(Choice(root=root))
        assert bench.find(bench.samples()[1]).relative_to(root).as_posix() == "Movie/Movie/bunny.mp4"

    def test_validation_counts_and_lists_what_is_wrong(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gone = {"info": {"video_path": "gone.mp4", "class_1": "WebVideo"}, "breakpoint": [point(1, "A?", "B.", "CI")]}
        root = benchmark_roots.write(tmp_path / "root", [*entries(), gone, "none"])
        assert [sample.entry for sample in StreamBench(Choice(root=root)).missing()] == [2]
        assert main(["validate", "streambench", "--root", str(root)]) == 1
        printed = " ".join(capsys.readouterr().out.split())
        assert "entries 4 videos 3 questions 7 repeats 1" in printed
        assert "entries without a question 1 videos found by name alone 1 missing or unreadable videos 1" in printed
        assert "entry 1, 1: is asked at 60 s, and bunny.mp4 ends at 5.3 s" in printed
        assert "entry 2: the video gone.mp4 is not below" in printed
        assert "not in time order" in printed

    def test_a_sound_folder_is_said_to_be_so(self, root: Path) -> None:
        counts, wrong = validate(StreamBench(Choice(root=root, repeats=False)))
        assert counts["questions"] == 5
        assert counts["missing_or_unreadable_videos"] == 0
        assert len(wrong) == 2  # remarks: the order, and the question past the end

    def test_own_videos_stand_in_a_file_of_lines(self, root: Path) -> None:
        (root / FILE).unlink()
        (root / "questions.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries()))
        bench = OwnVideos(Choice(root=root))
        assert bench.missing() == []
        assert [len(sample.questions) for sample in bench.samples()] == [4, 2]

    def test_the_file_itself_can_be_named_where_there_are_several(self, root: Path) -> None:
        (root / "streaming_bench_old.json").write_text("[]")
        bench = StreamBench(Choice(root=root / FILE))
        assert [bench.find(sample).name for sample in bench.samples()] == ["bikes.mp4", "bunny.mp4"]

    @pytest.mark.parametrize(
        ("folder", "said"), [("nowhere", "there is no folder"), ("empty", "must hold one file of questions")]
    )
    def test_a_folder_that_is_none_is_refused(
        self, folder: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "empty").mkdir()
        assert main(["validate", "streambench", "--root", str(tmp_path / folder)]) == 2
        assert said in capsys.readouterr().err


class TestTab:
    """What the app's tab finds in a folder before it runs anything."""

    def settings(self, root: Path, subset: int = 0) -> tab.Settings:
        return tab.Settings(
            benchmark="streambench",
            root=str(root),
            model="fake",
            preset="base",
            methods=["memory"],
            judge="exact",
            subset=subset,
            seed=0,
        )

    def test_data_is_there_when_the_videos_of_what_was_chosen_are(self, root: Path, tmp_path: Path) -> None:
        assert tab.lacks_data(self.settings(tmp_path / "nowhere"))
        assert not tab.lacks_data(self.settings(root))
        assert not tab.lacks_data(self.settings(root / FILE))
        chosen = StreamBench(Choice(root=root, subset=2)).samples()
        for video in root.rglob("*.mp4"):
            if video.name not in {Path(sample.video).name for sample in chosen}:
                video.unlink()  # as after a download for these only, or one that was cut
        assert not tab.lacks_data(self.settings(root, subset=2))
        assert tab.lacks_data(self.settings(root))


class TestUnpacking:
    def test_archives_and_their_parts_are_unpacked_once_beside_themselves(self, tmp_path: Path) -> None:
        whole = tmp_path / "whole.zip"
        with zipfile.ZipFile(whole, "w") as archive:
            archive.writestr("Ego/a.mp4", b"a" * 5000)
            archive.writestr("__MACOSX/Ego/._a.mp4", b"x")
            archive.writestr("Ego/._a.mp4", b"x")
        data = whole.read_bytes()
        (tmp_path / "parts").mkdir()
        (tmp_path / "parts" / "Movie.zip.001").write_bytes(data[:200])
        (tmp_path / "parts" / "Movie.zip.002").write_bytes(data[200:])
        unpack(tmp_path)
        found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4")}
        assert found == {"Ego/a.mp4", "parts/Ego/a.mp4"}
        (tmp_path / "Ego" / "a.mp4").unlink()
        unpack(tmp_path)
        assert not (tmp_path / "Ego" / "a.mp4").exists()

    def test_parts_are_put_together_by_their_numbers(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "whole", "w") as archive:
            archive.writestr("a.mp4", bytes(range(256)) * 40)
        data = (tmp_path / "whole").read_bytes()
        for number in range(12):
            end = 900 * (number + 1) if number < 11 else None
            (tmp_path / f"w.zip.{number + 1}").write_bytes(data[900 * number : end])
        unpack(tmp_path)
        assert (tmp_path / "a.mp4").read_bytes() == bytes(range(256)) * 40

    def test_an_archive_that_was_replaced_is_unpacked_again(self, tmp_path: Path) -> None:
        for content in (b"old", b"newer"):
            with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
                archive.writestr("a.mp4", content)
            unpack(tmp_path)
            assert (tmp_path / "a.mp4").read_bytes() == content

    @pytest.mark.parametrize("name", ["../out.mp4", "/out.mp4", "Ego/../../out.mp4"])
    def test_an_archive_that_leads_outside_is_refused_and_writes_nothing(self, name: str, tmp_path: Path) -> None:
        folder = tmp_path / "root"
        folder.mkdir()
        with zipfile.ZipFile(folder / "evil.zip", "w") as archive:
            archive.writestr("good.mp4", b"good")
            archive.writestr(name, b"evil")
        with pytest.raises(InputError, match="leads outside of the folder"):
            unpack(folder)
        assert {path.name for path in tmp_path.rglob("*")} == {"root", "evil.zip"}

    def test_a_link_in_an_archive_is_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
            link = zipfile.ZipInfo("link.mp4")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        with pytest.raises(InputError, match=r"link\.mp4"):
            unpack(tmp_path)

    def test_a_damaged_archive_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 torn")
        with pytest.raises(StreamChatError, match=r"torn\.zip is damaged"):
            unpack(tmp_path)


class TestDownload:
    def command(self, url: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [sys.executable, "-m", "evaluation", "download", "streambench", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def test_it_is_fetched_unpacked_and_its_revision_noted(self, root: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(root / "Movie.zip", "w") as archive:
            archive.write(root / "Movie" / "Movie" / "bunny.mp4", "Movie/bunny.mp4")
        (root / "Movie" / "Movie" / "bunny.mp4").unlink()
        target = tmp_path / "fetched"
        with hub_server.serving({REPO: root}) as hub:
            done = self.command(hub.url, tmp_path, "--root", str(target))
            assert done.returncode == 0, done.stderr
            assert "licence: apache-2.0; revision 0123456789ab" in done.stderr
            bench = StreamBench(Choice(root=target))
            assert bench.provenance["revision"] == hub_server.COMMIT
            assert validate(bench)[0]["missing_or_unreadable_videos"] == 0
            before = len(hub.fetched("bikes.mp4"))
            assert self.command(hub.url, tmp_path, "--root", str(target)).returncode == 0
            assert len(hub.fetched("bikes.mp4")) == before == 1

    def test_of_a_subset_only_its_videos_are_fetched(self, root: Path, tmp_path: Path) -> None:
        target = tmp_path / "fetched"
        with hub_server.serving({REPO: root}) as hub:
            done = self.command(hub.url, tmp_path, "--root", str(target), "--subset", "2", "--seed", "1")
            assert done.returncode == 0, done.stderr
        there = {path.name for path in target.rglob("*.mp4")}
        wanted = set(files.chosen(files.read(root / FILE).table, 2, 1)["video"])
        assert there == {Path(video).name for video in wanted}
        assert len(there) == 1

    def test_a_cut_download_is_gone_on_with(self, root: Path, tmp_path: Path) -> None:
        target = tmp_path / "fetched"
        video = (root / "Ego" / "bikes.mp4").read_bytes()
        (root / "Ego" / "bikes.mp4").write_bytes(video + bytes(12_000_000))  # the library writes 10 MiB at once
        with hub_server.serving({REPO: root}) as hub:
            hub.cut_after = 11_000_000
            done = self.command(hub.url, tmp_path, "--root", str(target))
            assert done.returncode == 0, done.stderr
            assert hub.fetched("bikes.mp4") == ["", "bytes=10485760-"]
        assert (target / "Ego" / "bikes.mp4").read_bytes() == video + bytes(12_000_000)
        assert StreamBench(Choice(root=target)).missing() == []

    def test_without_a_hub_it_says_what_to_do(self, tmp_path: Path) -> None:
        done = self.command("http://127.0.0.1:9", tmp_path, "--root", str(tmp_path / "fetched"))
        assert done.returncode == 1
        assert "cannot reach the Hugging Face Hub" in done.stderr
        assert "Traceback" not in done.stderr

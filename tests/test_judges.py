"""Judges: what counts as a grade, what does not, and that an answer is never given a grade that is not its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_runs
import openai_server
import pytest
import tiny_checkpoints
import torch
from conftest import WordEmbedder
from openai_server import say, serving
from transformers import AutoModelForCausalLM, Qwen2Config

from evaluation import judges, judging
from evaluation.__main__ import main
from evaluation.judges import llama3
from evaluation.judges.base import OWN_PROMPT, PAPERS_MODEL, Grade, Item, Messages, PromptedJudge, parse, read_prompt
from evaluation.judges.exact import ExactJudge
from evaluation.judges.semantic import SemanticJudge, token_f1
from evaluation.records import RunFolder
from streamchat.errors import InputError, StreamChatError

GOOD = '{"correct": "yes", "score": 4}'


class Scripted(PromptedJudge):
    """Says what it is given, one reply after the other."""

    name = "scripted"
    batch = 2

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[Messages] = []

    def reply(self, conversations: Sequence[Messages]) -> list[str]:
        self.asked += conversations
        return [self.replies.pop(0) for _ in conversations]


def item(answer: str = "A dog.", reference: str = "A dog.") -> Item:
    return Item(question="What is it?", reference=reference, answer=answer)


class TestReplies:
    @pytest.mark.parametrize(
        ("reply", "grade"),
        [
            (GOOD, Grade(correct=True, score=4)),
            ('```json\n{"correct": "No", "score": 0}\n```', Grade(correct=False, score=0)),
            (' {"score": 5, "correct": "YES"} ', Grade(correct=True, score=5)),
            ('{"pred": "yes", "score": 4}', Grade(correct=True, score=4)),
            ("{'pred': 'no', 'score': 0}", Grade(correct=False, score=0)),
            ("```\n{'score': 5, 'pred': \"Yes\"}\n```", Grade(correct=True, score=5)),
        ],
    )
    def test_the_json_asked_for_is_a_grade(self, reply: str, grade: Grade) -> None:
        assert parse(reply) == grade

    @pytest.mark.parametrize(
        "reply",
        [
            "",
            "yes",
            "The answer is correct. " + GOOD,
            GOOD + GOOD,
            "[]",
            '{"correct": "yes"}',
            '{"correct": "yes", "score": 4, "reason": "x"}',
            '{"correct": true, "score": 4}',
            '{"correct": "maybe", "score": 4}',
            '{"correct": "yes", "score": "4"}',
            '{"correct": "yes", "score": 6}',
            '{"correct": "yes", "score": -1}',
            '{"correct": "yes", "score": 3.5}',
            '{"correct": "yes", "score": true}',
            '{"correct": "yes", "score": NaN}',
            "{'correct': 'yes', 'score': 4}",
            "{'pred': 'yes', 'score': '4'}",
            "{'pred': 'yes', 'score': 4.8}",
            "{'pred': 'yes', 'score': True}",
            "{'pred': True, 'score': 4}",
            "{'pred': 'yes', 'score': 4, 'reason': 'x'}",
            "{'pred': 'yes', 'correct': 'yes', 'score': 4}",
            "{'pred': 'yes'}",
            "The answer: {'pred': 'yes', 'score': 4}",
            "{'pred': 'yes', 'score': 2 + 2}",
            "{'pred': " + "[" * 5000,
            "dict(pred='yes', score=4)",
        ],
    )
    def test_anything_else_is_ungraded_with_a_reason(self, reply: str) -> None:
        grade = parse(reply)
        assert (grade.correct, grade.score) == (None, None)
        assert grade.ungraded

    def test_a_bad_reply_is_asked_for_once_more(self) -> None:
        judge = Scripted("well…", GOOD)
        assert judge.grade([item()]) == [Grade(correct=True, score=4)]
        assert [message["role"] for message in judge.asked[1]] == ["system", "user", "assistant", "user"]

    def test_after_that_it_is_ungraded_and_takes_no_other_answers_grade(self) -> None:
        judge = Scripted(GOOD, "bad", '{"correct": "no", "score": 1}', "bad again")
        grades = judge.grade([item(), item("x"), item("y")])
        assert [grade.score for grade in grades] == [4, None, 1]
        assert len(judge.asked) == 4


RELEASED = """\
Question: {question}
Correct Answer: {reference}
Predicted Answer: {answer}
Reply as {'pred': 'yes', 'score': 4}, without {braces} of your own.
"""


class TestPrompts:
    def written(self, folder: Path, text: str = RELEASED) -> Path:
        (folder / "prompt.txt").write_text(text, encoding="utf-8")
        return folder / "prompt.txt"

    def test_the_three_parts_are_filled_in_once_and_other_braces_are_left_alone(self, tmp_path: Path) -> None:
        prompt = read_prompt(self.written(tmp_path))
        (message,) = prompt.messages(Item(question="What {answer}?", reference="{0}", answer="{question} é"))
        assert message == {
            "role": "user",
            "content": RELEASED.replace("{question}", "What {answer}?", 1)
            .replace("{reference}", "{0}")
            .replace("Predicted Answer: {answer}", "Predicted Answer: {question} é"),
        }

    def test_our_own_asks_for_json(self) -> None:
        system, user = OWN_PROMPT.messages(item("A cat."))
        assert "You grade answers" in system["content"]
        assert "Question: What is it?\nReference answer: A dog.\nAnswer to grade: A cat." in user["content"]
        assert '{"correct": "yes" or "no", "score": ' in user["content"]

    def test_its_name_is_that_of_its_text_alone(self, tmp_path: Path) -> None:
        names = set()
        for number, text in enumerate((RELEASED, RELEASED, RELEASED + " ")):
            folder = tmp_path / str(number)
            folder.mkdir()
            names.add(read_prompt(self.written(folder, text)).name)
        assert len(names) == 2
        assert f"prompt {hashlib.sha256(RELEASED.encode()).hexdigest()[:12]}" in names

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", r"lacks \{question\} and \{reference\} and \{answer\}"),
            (b"{question} {answer}", r"lacks \{reference\}: write"),
            (b"{question} {reference} { answer }", r"lacks \{answer\}: write"),
            (b"\xff\xfe{question}", "is not text in UTF-8"),
            (b"{question} {reference} {answer}" + b" " * 2**16, "more than the 65536 bytes"),
            (b"{question} {reference} {answer} " + "é".encode() * 2**15, "more than the 65536 bytes"),
            (None, "cannot be read"),
        ],
    )
    def test_a_file_that_is_no_prompt_is_refused(self, content: bytes | None, said: str, tmp_path: Path) -> None:
        if content is not None:
            (tmp_path / "prompt.txt").write_bytes(content)
        with pytest.raises(InputError, match=said):
            read_prompt(tmp_path / "prompt.txt")
        with pytest.raises(InputError, match="cannot be read"):
            read_prompt(tmp_path)

    @pytest.mark.parametrize("name", ["exact", "semantic"])
    def test_a_judge_that_asks_nobody_takes_none(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=f"the judge {name} asks nobody: --prompt is for llama3 and openai"):
            judges.build(name, read_prompt(self.written(tmp_path)))

    def test_a_server_is_asked_with_it_and_understood(self, tmp_path: Path) -> None:
        prompt = read_prompt(self.written(tmp_path))
        with serving(say("Yes, I think."), say("{'pred': 'yes', 'score': 3}")) as server:
            judge = judges.build(f"openai:{server.url}#{openai_server.NAME}", prompt)
            assert judge.grade([item()]) == [Grade(correct=True, score=3)]
            own = judges.build(f"openai:{server.url}#{openai_server.NAME}")
            first, again = (request.body["messages"] for request in server.requests)
        assert [message["role"] for message in first] == ["user"]
        assert "Correct Answer: A dog." in first[0]["content"]
        assert "JSON" not in again[-1]["content"]
        assert prompt.name in judge.name
        assert judge.name != own.name

    def test_grades_of_different_prompts_do_not_mix(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = TestJudging().run(tmp_path / "run")
        with serving(say(GOOD)) as server:
            for more in ([], ["--prompt", str(self.written(tmp_path))]):
                judge = ["--judge", f"openai:{server.url}#{openai_server.NAME}", *more]
                assert main(["judge", str(folder.path), *judge]) == 0
        assert [len(grades) for grades in judging.grades_of(folder).values()] == [5, 5]
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert main(["judge", str(folder.path), "--judge", "exact", "--prompt", str(tmp_path / "prompt.txt")]) == 2
        assert "the judge exact asks nobody" in capsys.readouterr().err


class TestStandIns:
    @pytest.mark.parametrize(
        ("answer", "correct"),
        [
            ("The number is 4827.", True),
            ("4827", True),
            ("It was 48271.", False),
            ("I did not notice.", False),
            ("", False),
        ],
    )
    def test_exact_wants_the_reference_as_whole_words(self, answer: str, correct: bool) -> None:
        (grade,) = ExactJudge().grade([item(answer, "4827")])
        assert (grade.correct, grade.score) == (correct, 5.0 if correct else 0.0)

    @pytest.mark.parametrize(("answer", "correct"), [("nothing at all", False), ("it is +", True), ("C++", False)])
    def test_exact_wants_a_reference_of_signs_to_stand_alone(self, answer: str, correct: bool) -> None:
        assert ExactJudge().grade([item(answer, "+")])[0].correct == correct

    def test_semantic_is_higher_for_what_is_nearer(self) -> None:
        judge = SemanticJudge(WordEmbedder())
        same, near, far, none = judge.grade(
            [
                item("a red dog", "a red dog"),
                item("a red cat", "a red dog"),
                item("two blue cars", "a red dog"),
                item("", "a"),
            ]
        )
        assert (same.correct, same.score) == (True, 5)
        assert 5 > (near.score or 0) > (far.score or 0) >= (none.score or 0) == 0
        assert judge.caveat == "a stand-in"
        assert "stand-in" in judge.name

    def test_token_f1_by_hand(self) -> None:
        assert token_f1("a red dog", "the red dog runs") == pytest.approx(2 * 2 / (3 + 4))

    def test_an_unknown_judge_lists_the_choices(self) -> None:
        with pytest.raises(InputError, match=r"unknown judge 'nope'.*exact.*semantic"):
            judges.build("nope")
        with pytest.raises(InputError, match="takes nothing behind its name"):
            judges.build("exact:7")


class TestModels:
    def test_a_server_judges(self) -> None:
        with serving(say(GOOD)) as server:
            judge = judges.build(f"openai:{server.url}#{openai_server.NAME}")
            assert judge.grade([item()]) == [Grade(correct=True, score=4)]
            text = json.dumps(server.requests[0].body)
        assert "What is it?" in text
        assert "prompt version" in judge.name
        assert judge.caveat == "another one than the paper's"

    def test_a_language_model_judges_in_batches(self, tmp_path: Path) -> None:
        judge = judges.build(f"llama3:{tiny_judge(tmp_path)}")
        alone = [judge.grade([one])[0] for one in (item("A dog."), item("A much longer answer about a cat."))]
        assert judge.grade([item("A dog."), item("A much longer answer about a cat.")]) == alone
        assert all(grade.ungraded for grade in alone)  # random weights speak no JSON
        assert str(tmp_path) in judge.name
        assert judge.caveat == "another one than the paper's"

    def test_the_papers_model_says_whose_prompt_it_was_asked_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(llama3, "local_folder", lambda spec: tiny_judge(tmp_path))
        (tmp_path / "prompt.txt").write_text(RELEASED)
        own, given = judges.build("llama3"), judges.build("llama3", read_prompt(tmp_path / "prompt.txt"))
        assert own.caveat == f"{PAPERS_MODEL} a prompt of our own"
        assert given.caveat == f"{PAPERS_MODEL} a prompt from a file"
        assert "(prompt version 1)" in own.name
        assert f"({given.prompt.name})" in given.name  # type: ignore[attr-defined]

    def test_the_papers_judge_that_is_not_here_says_what_to_do(self) -> None:
        with pytest.raises(StreamChatError, match="--download meta-llama/Meta-Llama-3-8B-Instruct") as raised:
            judges.build("llama3")
        for needed in ("is gated", "https://huggingface.co/meta-llama", "HF_TOKEN", "--judge llama3:FOLDER"):
            assert needed in str(raised.value)


def tiny_judge(folder: Path) -> Path:
    """A text model of random weights with a chat template."""
    template = tiny_checkpoints.TURNS + "{{ m['content'] }}" + tiny_checkpoints.END
    tokenizer = tiny_checkpoints.tokenizer({}, template)
    torch.manual_seed(0)
    settings = {key: value for key, value in tiny_checkpoints.text("qwen2", tokenizer).items() if key != "model_type"}
    AutoModelForCausalLM.from_config(Qwen2Config(**settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class TestJudging:
    def run(self, folder: Path, count: int = 5) -> RunFolder:
        run = RunFolder(folder)
        identity = {"benchmark": "x", "data": {}, "model": "m", "model_name": "m", "method": "blind", "preset": "base"}
        run.begin(identity, {"questions": count})
        with run.writer(0) as writer:
            for number in range(count):
                writer.write(self.row(number))
        return run

    def row(self, number: int) -> dict[str, Any]:
        return benchmark_runs.answered(
            id=f"0-{number}",
            index=number,
            time_seconds=float(number),
            asked_at_seconds=float(number),
            reference="4827",
            answer="" if number == 1 else "4827",
            error="gone" if number == 1 else None,
        )

    def test_what_has_no_answer_is_ungraded(self, tmp_path: Path) -> None:
        folder = self.run(tmp_path / "run")
        assert list(judging.judge(folder, ExactJudge()))[-1] == (5, 5)
        grades = judging.grades_of(folder)["exact"]
        assert grades["0-1"]["ungraded"] == "there is no answer: gone"
        assert [grades[f"0-{number}"]["score"] for number in (0, 2, 3, 4)] == [5, 5, 5, 5]

    def test_judging_goes_on_where_it_was(self, tmp_path: Path) -> None:
        folder = self.run(tmp_path / "run")
        judge = Scripted(GOOD, GOOD, GOOD, GOOD)
        with pytest.raises(IndexError):
            list(judging.judge(folder, Scripted(GOOD)))  # fails in the second batch
        list(judging.judge(folder, judge))
        assert len(judging.grades_of(folder)["scripted"]) == 5
        assert len(judge.asked) == 3

    def test_two_judges_grade_one_run(self, tmp_path: Path) -> None:
        folder = self.run(tmp_path / "run")
        list(judging.judge(folder, ExactJudge()))
        list(judging.judge(folder, Scripted(*[GOOD] * 4)))
        assert set(judging.grades_of(folder)) == {"exact", "scripted"}

    def test_an_answer_that_came_later_is_judged_and_no_other(self, tmp_path: Path) -> None:
        folder = self.run(tmp_path / "run")
        list(judging.judge(folder, Scripted(*[GOOD] * 4)))
        with folder.writer(1) as writer:
            writer.write({**self.row(1), "answer": "4827", "error": None})
        judge = Scripted(GOOD)
        assert list(judging.judge(folder, judge))[-1] == (5, 5)
        assert len(judge.asked) == 1
        assert judging.grades_of(folder)["scripted"]["0-1"]["score"] == 4

    def test_judges_whose_names_differ_in_signs_alone_do_not_mix(self, tmp_path: Path) -> None:
        folder = self.run(tmp_path / "run")
        for name in ("org/m at h", "org-m at h"):
            judge = Scripted(*[GOOD] * 4)
            judge.name = name
            list(judging.judge(folder, judge))
        assert {name: len(grades) for name, grades in judging.grades_of(folder).items()} == {
            "org/m at h": 5,
            "org-m at h": 5,
        }

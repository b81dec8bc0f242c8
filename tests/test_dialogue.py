"""The dialogue memory: rounds found again by meaning, taken back, and folded when they are many."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import WordEmbedder

from streamchat.memory import dialogue
from streamchat.memory.dialogue import GROUP, SUMMARY_LINES, TOP_LEVEL, DialogueMemory
from streamchat.types import DialogueTurn


def turn(question: str, answer: str, asked: float) -> DialogueTurn:
    return DialogueTurn(question, answer, asked, vector(f"{question} {answer}"))


def vector(text: str) -> np.ndarray:
    return WordEmbedder().embed([text])[0]


def long_talk(rounds: int, most_turns: int = 20) -> DialogueMemory:
    """A talk of which each round is about a thing of its own, one a second."""
    memory = DialogueMemory(most_turns)
    for number in range(rounds):
        memory.add(turn(f"where is thing{number}", f"On shelf{number}. It has been there for long.", float(number)))
    return memory


class TestDialogue:
    def filled(self) -> DialogueMemory:
        memory = DialogueMemory()
        rounds = [
            ("what dog is it", "a poodle", 5.0),
            ("what color is the car", "red", 9.0),
            ("the dog again", "yes", 20.0),
        ]
        for question, answer, asked in rounds:
            memory.add(DialogueTurn(question, answer, asked, WordEmbedder().embed([f"{question} {answer}"])[0]))
        return memory

    def test_the_nearest_turn_is_found(self) -> None:
        (turn,) = self.filled().related("car color", vector("car color"), 1, count=3, until_seconds=99)
        assert turn.answer == "red"

    def test_several_come_in_the_order_asked(self) -> None:
        turns = self.filled().related("dog", vector("dog"), 2, count=3, until_seconds=99)
        assert [turn.asked_at_seconds for turn in turns] == [5.0, 20.0]

    def test_turns_after_the_snapshot_or_asked_later_in_the_stream_are_left_out(self) -> None:
        memory, dog = self.filled(), vector("dog")
        assert len(memory.related("dog", dog, 5, count=2, until_seconds=99)) == 2
        found = memory.related("dog", dog, 5, count=3, until_seconds=9.0)
        assert [turn.asked_at_seconds for turn in found] == [5.0, 9.0]
        last = memory.last(count=3, until_seconds=10)
        assert last is not None
        assert last.answer == "red"

    def test_an_empty_dialogue_has_nothing(self) -> None:
        assert DialogueMemory().related("dog", vector("dog"), 1, count=0, until_seconds=9) == ()
        assert DialogueMemory().last(count=0, until_seconds=9) is None


class TestForgetting:
    def test_the_last_round_is_taken_out_and_another_takes_its_place(self) -> None:
        memory = TestDialogue().filled()
        forgotten = memory.forget_last()
        assert forgotten is not None
        assert forgotten.question == "the dog again"
        memory.add(turn("and the cat", "grey", 20.0))
        assert len(memory) == 3
        found = memory.related("dog", vector("dog"), 9, count=memory.added, until_seconds=99)
        assert [one.question for one in found] == ["what dog is it", "what color is the car", "and the cat"]
        (dog,) = memory.related("dog again", vector("dog again"), 1, count=memory.added, until_seconds=99)
        assert dog.question == "what dog is it"

    def test_a_snapshot_taken_before_sees_neither_the_round_nor_what_took_its_place(self) -> None:
        memory = TestDialogue().filled()
        count = memory.added
        memory.forget_last()
        memory.add(turn("the dog once more", "yes", 20.0))
        found = memory.related("dog", vector("dog"), 9, count=count, until_seconds=99)
        assert [one.asked_at_seconds for one in found] == [5.0, 9.0]
        last = memory.last(count=count, until_seconds=99)
        assert last is not None
        assert last.answer == "red"

    def test_only_the_round_that_is_meant(self) -> None:
        memory = TestDialogue().filled()
        assert memory.forget_last("a question whose answer failed") is None
        assert len(memory) == 3
        assert memory.forget_last("the dog again") is not None
        assert len(memory) == 2

    def test_nothing_is_left_to_forget(self) -> None:
        memory = TestDialogue().filled()
        while memory.forget_last():
            pass
        assert len(memory) == 0
        assert memory.forget_last() is None
        assert memory.related("dog", vector("dog"), 1, count=9, until_seconds=99) == ()
        memory.add(turn("a dog", "yes", 30.0))
        assert len(memory.related("dog", vector("dog"), 1, count=memory.added, until_seconds=99)) == 1

    def test_what_is_in_a_summary_stays(self) -> None:
        memory = long_talk(25, most_turns=20)
        while memory.forget_last():
            pass
        assert [entry.level for entry in memory.entries] == [1]
        assert len(memory) == GROUP


class TestFolding:
    def test_the_newest_are_kept_in_full_and_every_round_is_stood_for(self) -> None:
        for rounds in (20, 21, 30, 31, 250, 1300):
            memory = long_talk(rounds)
            full = [entry for entry in memory.entries if entry.level == 0]
            assert 20 - GROUP < len(full) <= 20
            assert full[-1].turn.question == f"where is thing{rounds - 1}"
            assert len(memory) == rounds

    @pytest.mark.parametrize("most", [1, 2, 5])
    def test_few_in_full_are_kept_too(self, most: int) -> None:
        memory = long_talk(60, most)
        assert 1 <= sum(entry.level == 0 for entry in memory.entries) <= most
        assert len(memory) == 60
        last = memory.last(count=memory.added, until_seconds=99)
        assert last is not None
        assert last.question == "where is thing59"

    def test_a_summary_has_a_line_for_each_round_with_time_question_and_first_sentence(self) -> None:
        summary = long_talk(25).entries[0].turn
        assert summary.question == "(10 rounds up to this moment, in short)"
        assert summary.answer.splitlines()[3] == "[0:03] where is thing3 – On shelf3."
        assert len(summary.answer.splitlines()) == 10
        assert float(np.linalg.norm(summary.embedding)) == pytest.approx(1.0)

    def test_long_rounds_are_shortened(self) -> None:
        memory = DialogueMemory(1)
        memory.add(turn("why\n" * 400, "because " * 400, 0.0))
        memory.add(turn("and now", "no", 1.0))
        (line,) = memory.entries[0].turn.answer.splitlines()
        assert len(line) < 200
        assert "…" in line

    @pytest.mark.parametrize("thing", [0, 3, 37, 71])
    def test_an_old_round_is_found_again_in_its_summary(self, thing: int) -> None:
        memory = long_talk(100)
        question = f"thing{thing} shelf{thing}"
        (found,) = memory.related(question, vector(question), 1, count=memory.added, until_seconds=999)
        assert f"where is thing{thing} – On shelf{thing}." in found.answer
        assert found.asked_at_seconds >= thing

    def test_a_summary_is_seen_only_once_all_of_its_rounds_were_asked(self) -> None:
        memory = long_talk(45)
        for until in np.arange(0.0, 45.0):
            found = memory.related("thing1", vector("thing1"), 99, count=memory.added, until_seconds=float(until))
            recalled = "\n".join(one.question + one.answer for one in found)
            assert not any(f"thing{later}\n" in recalled for later in range(int(until) + 1, 45))
            assert all(one.asked_at_seconds <= until for one in found)
        assert memory.related("thing1", vector("thing1"), 9, count=memory.added, until_seconds=5.0) == ()
        assert memory.related("thing1", vector("thing1"), 9, count=5, until_seconds=99.0) == ()

    def test_rounds_about_an_earlier_moment_do_not_pull_a_summary_there(self) -> None:
        memory = DialogueMemory(2)
        for number, asked in enumerate((90.0, 10.0, 11.0, 12.0)):
            memory.add(turn(f"question {number}", "answer", asked))
        found = memory.related("question", vector("question"), 9, count=memory.added, until_seconds=12.0)
        assert all("question 0" not in one.answer for one in found)

    def test_a_summary_is_never_the_last_round(self) -> None:
        memory = long_talk(45)
        assert memory.last(count=memory.added, until_seconds=12.0) is None

    def test_memory_stays_constant_over_5000_rounds(self) -> None:
        memory = DialogueMemory()
        sizes = []
        tracemalloc.start()
        try:
            for number in range(5000):
                one = np.eye(8, dtype=np.float32)[number % 8]
                memory.add(DialogueTurn(f"where is thing{number}", "On the shelf. " * 20, float(number), one))
                if number % 500 == 499:
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert len(memory) == 5000
        assert len(memory.entries) <= 200 + TOP_LEVEL * GROUP
        assert all(len(entry.vectors) <= SUMMARY_LINES for entry in memory.entries)
        assert max(sizes[5:]) <= 1.2 * max(sizes[:5])

    def test_a_talk_without_end_is_bounded_as_well(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dialogue, "TOP_LEVEL", 2)  # reached sooner
        memory = long_talk(1300, most_turns=1)
        assert len(memory.entries) <= 1 + 2 * GROUP
        assert len(memory) == 1300
        oldest = memory.entries[0]
        assert oldest.level == 2
        assert oldest.rounds > GROUP**2, "summaries of the top level were folded among themselves"
        assert oldest.turn.question == f"({oldest.rounds} rounds up to this moment, in short)"


class TestRestoring:
    def test_another_memory_goes_on_from_it(self) -> None:
        memory, other = long_talk(45), DialogueMemory(20)
        other.restore(memory.entries)
        assert (len(other), other.added) == (45, 45)
        for one in (memory, other):
            one.add(turn("where is the cat", "here", 50.0))
        asked = [
            one.related("thing3", vector("thing3"), 3, count=one.added, until_seconds=99) for one in (memory, other)
        ]
        assert [one.answer for one in asked[0]] == [one.answer for one in asked[1]]

    def test_what_no_memory_could_have_held_is_refused(self) -> None:
        summary, *_, full = long_talk(25).entries
        with pytest.raises(ValueError, match="down to level 0"):
            DialogueMemory().restore([full, summary])
        with pytest.raises(ValueError, match="stands for itself"):
            DialogueMemory().restore([replace(full, rounds=2)])
        with pytest.raises(ValueError, match="as many as it has lines"):
            DialogueMemory().restore([replace(summary, vectors=summary.vectors[1:])])

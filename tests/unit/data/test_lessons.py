"""Lessons: right answers, evenly over the grid, no held-out reading, beginnings and parts of real messages."""

import itertools
from collections import Counter
from statistics import mean

from core.catalogue import advices
from core.checks import check_message, check_number
from core.park import Scene, season_of
from core.prompt import build_messages, read_user_text
from core.reading import Reading, usual_grid
from data.choice import chosen_advices
from data.compose import advices_for, openings_for
from data.lessons import FIRSTS, SECONDS, Lesson, lessons, told_apart
from data.sets import held_out_readings
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection, LessonsSection

HELD_OUT = held_out_readings()
SIGN = {"up": 1, "down": -1, "same": 0}
CHOICES = ChoicesSection(each=4)


def dealt(seed: int = 11, **wanted: int) -> list[Lesson]:
    return lessons(LessonsSection(**wanted), HELD_OUT, seed, CHOICES if "parts" in wanted else WHOLE_CATALOGUE)


def test_bare_rows_subtract() -> None:
    rows = dealt(bare=4000)
    for row in rows:
        assert isinstance(row.prompt, str)
        yesterday, today, _ = row.prompt.split()
        size, direction = row.completion.split()
        assert int(today) - int(yesterday) == int(size) * SIGN[direction] == row.reading.change
    assert row.completion.endswith("\n"), "else nothing says where the answer ends"


def test_beginnings_have_the_plain_prompt_and_end_after_number_and_direction() -> None:
    rows = dealt(beginnings=4000)
    for row in rows:
        assert row.prompt == build_messages(row.reading)
        assert check_number(row.completion, row.reading) == []
        sentences = [one.text.format(n=abs(row.reading.change)) for one in openings_for(row.reading, None)]
        assert any(one.startswith(row.completion) for one in sentences), "a message's own beginning"
    assert mean(len(row.completion.split()) for row in rows) < 4


def test_lessons_are_dealt_evenly_without_held_out_readings_and_are_reproducible() -> None:
    rows = dealt(bare=7000, beginnings=3500)
    assert rows == dealt(bare=7000, beginnings=3500) != dealt(12, bare=7000, beginnings=3500)
    for kind in (rows[:7000], rows[7000:]):
        uses = Counter(row.reading for row in kind)
        assert set(uses) == set(usual_grid()) - HELD_OUT
        assert max(uses.values()) - min(uses.values()) <= 1


def test_neighbours_share_yesterday() -> None:
    rows = dealt(bare=3000)
    same = sum(one.reading.yesterday == other.reading.yesterday for one, other in itertools.pairwise(rows))
    assert same > 0.8 * len(rows)


def test_no_lessons_are_none() -> None:
    assert dealt() == []


def test_parts_are_those_of_messages_that_pass_every_check() -> None:
    rows = dealt(parts=200)
    for row in rows:
        reading, scene, said = asked(row)
        assert reading == row.reading
        firsts = [one.text.format(n=abs(reading.change)) for one in openings_for(reading, season_of(scene), CHOICES)]
        if not said:
            assert row.completion in firsts
        else:
            assert said in firsts
            seconds = [one.text for one in advices_for(reading, scene, CHOICES)]
            (second,) = (one for one in seconds if f"{one} ".startswith(f"{row.completion.strip()} "))
            assert check_message(f"{said} {second}", reading, scene) == []
    assert {asked(row)[1] is None for row in rows} == {True, False}, "plain prompts, and some with a park"


def test_a_readings_parts_differ_and_neighbours_share_their_park() -> None:
    rows = dealt(parts=200)
    assert len(list(itertools.groupby(rows, lambda row: row.reading))) == 200
    groups = [list(group) for _, group in itertools.groupby(rows, lambda row: row.reading)]
    for group in groups:
        assert len({str(row.prompt) + row.completion for row in group}) == len(group)
        (first,) = {asked(row)[2] for row in group} - {""}
        assert first in {row.completion for row in group}, "the second sentences follow one that is learned"
    for wanted, told in ((FIRSTS, False), (SECONDS, True)):
        assert wanted - 1 < mean(sum(bool(asked(part)[2]) is told for part in group) for group in groups) <= wanted
    shared = sum(asked(one[0])[1] == asked(other[0])[1] for one, other in itertools.pairwise(groups))
    assert shared > 0.8 * len(groups)


def test_as_many_words_as_tell_a_second_sentence_apart() -> None:
    for choices in (WHOLE_CATALOGUE, CHOICES):
        texts = [one.text for one in chosen_advices(choices)]
        for one in chosen_advices(choices):
            words = told_apart(one, choices)
            alike = [text for text in texts if f"{text} ".startswith(f"{words} ")]
            assert alike == [one.text]
            if shorter := " ".join(words.split()[:-1]):
                assert len([text for text in texts if f"{text} ".startswith(f"{shorter} ")]) > 1
    assert len(advices()) > len(chosen_advices(CHOICES))


def asked(row: Lesson) -> tuple[Reading, Scene | None, str]:
    """Return what a lesson asks, and the beginning of its answer."""
    assert isinstance(row.prompt, list)
    _, question, *said = row.prompt
    return *read_user_text(question["content"]), "".join(message["content"] for message in said)

"""What the chaos benchmark calls wrong, stale, lost and doubled, and when it says that messages are back."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos import sensors
from benchmarks.chaos.tally import Ask, Made, Message, Sent, Tally, longest_silence, lost_and_doubled
from benchmarks.scripted_server import GOOD
from core.park import Scene

MAX_AGE = 60.0
SCENE = Scene.of("봄", ["벤치", "산책로"])
MESSAGE = Message("p0", GOOD, 10, 20, 1000.0, SCENE)  # right for 10 → 20 °C
TOLD = [(10, 20)]


def kinds(tally: Tally) -> list[str]:
    return [one.kind for one in tally.incidents]


@pytest.mark.parametrize(
    ("message", "told", "expected"),
    [
        (MESSAGE, TOLD, []),
        (replace(MESSAGE, today=21), [(10, 21)], ["wrong"]),  # the text says 10 degrees
        (MESSAGE, [(10, 21)], ["wrong"]),  # right in itself, for a reading that nobody told this board
        (replace(MESSAGE, text=GOOD.replace("올라", "내려")), TOLD, ["wrong"]),
    ],
)
def test_a_message_is_judged_by_its_reading_and_counted_once(
    message: Message, told: list[tuple[int, int]], expected: list[str]
) -> None:
    tally = Tally()
    for at in (1001.0, 1002.0):
        tally.saw(message, at, MAX_AGE, told)
    assert kinds(tally) == expected
    assert tally.looks == 2


def test_a_look_that_began_after_the_limit_is_stale() -> None:
    tally = Tally()
    tally.saw(MESSAGE, 1060.9, MAX_AGE, TOLD)
    assert kinds(tally) == []
    tally.saw(MESSAGE, 1061.1, MAX_AGE, TOLD)
    assert kinds(tally) == ["stale"]


def signed(text: str, since: float, until: float) -> list[str]:
    tally = Tally()
    tally.remember(MESSAGE, 1000.5, TOLD)
    for at in (since, until):
        tally.sign_shows("sign-1", "p0", text, at)
    tally.sign_shows("sign-1", "p0", "", until + 0.1)
    return [one.kind for one in tally.judge_signs(MAX_AGE)]


def test_a_sign_shows_pages_of_its_board_and_none_for_too_long() -> None:
    page = GOOD.split(". ")[0] + "."
    wrapped = page.replace(" ", "   ")
    assert signed(wrapped, 1000.2, 1061.9) == []
    assert signed(wrapped, 1000.2, 1062.1) == ["stale"]
    assert signed(wrapped, 990.0, 1001.0) == ["wrong"], "before the board"
    assert signed("안녕하세요.", 1001.0, 1002.0) == ["wrong"]


def test_what_the_broker_took_is_in_the_database_once() -> None:
    sent = [
        Sent("p0", 20.0, 1.0001, acknowledged=True),
        Sent("p0", 21.0, 2.0, acknowledged=True),
        Sent("p1", 21.0, 1.0, acknowledged=False),
    ]
    found = lost_and_doubled(sent, [("p0", 1.0), ("p0", 1.0), ("p1", 2.0)])
    assert sorted((one.kind, one.detail) for one in found) == [("doubled", "p0: 2 times"), ("lost", "p0")]
    assert lost_and_doubled(sent, [("p0", 1.0), ("p0", 2.0)]) == []


def test_the_next_answer_is_one_that_was_asked_for_after_the_fault() -> None:
    tally = Tally(asks=[Ask(99.0, 101.0, True, 1), Ask(100.5, 103.0, False, 4), Ask(101.0, 104.0, True, 2)])
    assert tally.next_ask(100.0) == 4.0
    assert tally.next_ask(102.0) is None
    assert tally.silence_of_asks(100.0, 110.0) == 6.0, "from the last answer to the end"


def test_the_next_message_of_a_board_belongs_to_an_observation_after_the_fault() -> None:
    tally = Tally(made={Made("p0", 999.0, 1000.5)})
    assert tally.next_message(999.5, ["p0"]) is None, "its observation came before"
    tally.made |= {Made("p0", 1001.0, 1002.5), Made("p0", 1003.0, 1004.0)}
    assert tally.next_message(999.5, ["p0"]) == 3.0
    assert tally.next_message(999.5, ["p1"]) is None


def test_a_sign_is_back_when_it_begins_to_show_what_its_board_had_last() -> None:
    tally = Tally()
    newer = replace(MESSAGE, text="어제보다 9도 올라 포근합니다. 걸어 보세요.", written_at=1010.0)
    for message in (MESSAGE, newer):
        tally.remember(message, message.written_at, TOLD)
    for at, text in ((1005.0, GOOD), (1006.0, ""), (1012.0, GOOD), (1015.0, "걸어 보세요.")):
        tally.sign_shows("sign-1", "p0", text, at)
    assert tally.next_page(1006.0, "sign-1") == 9.0, "what it showed at 1012 was not the board's last"


def test_the_longest_silence_counts_the_borders() -> None:
    assert longest_silence([1.0, 8.0, 9.0], 5.0, 12.0) == 7.0, "it began before the fault"
    assert longest_silence([], 5.0, 12.0) == 7.0


def test_a_line_that_a_killed_sensor_left_half_written_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "sent"
    line = '{"sensor": "p0", "value": 1.0, "at": 5.0, "acknowledged": %s}\n'
    file.write_text(line % "false" + line % "true" + '{"sensor": "p0", "va', encoding="utf-8")
    assert sensors.read(file) == [Sent("p0", 1.0, 5.0, acknowledged=True)]

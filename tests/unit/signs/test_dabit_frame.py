"""The DABIT frames: the vendor's own examples, and answers that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signs.dabit_frame import Answer, bcc, command, find_answer, read_answer
from signs.errors import NotDrawable, SignRefused


@pytest.mark.parametrize(
    ("data", "check", "frame"),
    [
        (b"ABCD", True, b"![010ABCD!]33"),  # with their check characters from the vendor's manual
        (b"/C3123/C6ABC", True, b"![010/C3123/C6ABC!]42"),
        (b"Hello world", False, b"![000Hello world!]"),
    ],
)
def test_frames_are_those_of_the_vendors_manual(data: bytes, check: bool, frame: bytes) -> None:
    assert command("0", "0", data, check=check) == frame


def test_addresses_and_special_commands_stand_in_the_frame() -> None:
    assert command("F", "21", b"1", check=False) == b"![F0211!]"


def test_text_that_would_end_the_frame_is_refused() -> None:
    with pytest.raises(NotDrawable):
        command("0", "0", b"a!]b", check=True)


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (b"![0100!]", Answer("0", "0")),
        (b"![010F!]", Answer("0", "F")),
        (b"![0100!]" + bcc(b"![0100!]"), Answer("0", "0")),
    ],
)
def test_answers_are_read(frame: bytes, answer: Answer) -> None:
    assert read_answer(frame, "0", check=True) == answer
    assert answer.done is (answer.said == "0")


@pytest.mark.parametrize(
    "frame",
    [
        b"![1100!]",  # another address: answers always have 0
        b"![0000!]",  # without check, though the command had one
        b"![0110!]",  # to a page message
        b"![010!]",  # says nothing
        b"![0Z?!]",
        b"![0100!]00",  # wrong check characters
        b"![\xff100!]",
    ],
)
def test_what_is_no_answer_to_the_command_is_refused(frame: bytes) -> None:
    with pytest.raises(SignRefused):
        read_answer(frame, "0", check=True)


def test_answers_to_questions_have_text() -> None:
    assert read_answer(b"![0181DABIT 7.50!]", "81", check=True).said == "DABIT 7.50"


def test_an_answer_is_found_in_pieces_and_after_noise() -> None:
    whole = b"\x00noise![0100!]" + bcc(b"![0100!]")
    end = whole.index(b"!]") + 2
    assert all(find_answer(whole[:size]) is None for size in range(end))
    assert find_answer(whole) == b"![0100!]" + bcc(b"![0100!]")
    with pytest.raises(SignRefused):
        find_answer(b"\x00" * 600)


@given(st.binary(max_size=600))
def test_any_bytes_are_an_answer_wait_or_are_refused(noise: bytes) -> None:
    try:
        found = find_answer(noise)
        if found:
            read_answer(found, "0", check=True)
    except SignRefused:
        pass

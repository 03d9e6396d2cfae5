"""Signs: profiles, cells, wrapping, and misfits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalogue import advices, openings
from core.errors import SettingError
from core.sign import DEFAULT_SIGN, SCROLL_CELLS, Sign, cells, split_sentences, wrap

TEXT = "어제보다 10도 올라 화창합니다. 활짝 핀 꽃길을 따라 걸어보세요."


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("20x2", Sign(20, 2)),
        (" 40x1 ", Sign(40, 1)),
        ("9999x99", Sign(9999, 99)),
        ("scroll", Sign(SCROLL_CELLS, 0)),
        ("scroll:64", Sign(64, 0)),
    ],
)
def test_profiles_are_read_and_written(text: str, sign: Sign) -> None:
    assert Sign.parse(text) == sign
    assert Sign.parse(str(sign)) == sign


@pytest.mark.parametrize(
    "text", ["", "20", "20x", "x2", "0x2", "20x0", "-20x2", "20X2", "20x2x2", "scroll:", "scroll:0", "2 0x2"]
)
def test_invalid_profiles_are_rejected_with_the_valid_forms(text: str) -> None:
    with pytest.raises(SettingError, match="20x2"):
        Sign.parse(text)


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("10도", 4), ("가 나.", 6), ("ＡB", 3), ("！?", 3), ("어제보다 10도 올라 화창합니다.", 30)],
)
def test_full_width_characters_take_two_cells(text: str, width: int) -> None:
    assert cells(text) == width


def test_a_board_shows_a_sentence_at_a_time_wrapped_at_spaces() -> None:
    assert DEFAULT_SIGN.pages(TEXT) == [
        ["어제보다 10도 올라", "화창합니다."],
        ["활짝 핀 꽃길을 따라", "걸어보세요."],
    ]
    assert Sign.parse("scroll").pages(TEXT) == [[TEXT]]


@pytest.mark.parametrize(
    ("sign", "found"),
    [
        ("20x2", []),
        ("19x2", []),
        ("16x2", []),
        (
            "15x2",
            ["3 of 2 lines: 어제보다 10도 / 올라 / 화창합니다.", "3 of 2 lines: 활짝 핀 꽃길을 / 따라 / 걸어보세요."],
        ),
        ("15x3", []),
        ("20x1", ["2 of 1 lines: 어제보다 10도 올라 / 화창합니다.", "2 of 1 lines: 활짝 핀 꽃길을 따라 / 걸어보세요."]),
        ("10x4", ["11 of 10 cells: 화창합니다.", "11 of 10 cells: 걸어보세요."]),
        ("scroll", []),
        ("scroll:60", [f"62 of 60 cells: {TEXT}"]),
    ],
)
def test_misfits_are_reported_by_line(sign: str, found: list[str]) -> None:
    assert Sign.parse(sign).misfits(TEXT) == found


@given(st.lists(st.text("가나다 1.", min_size=1).map(str.strip).filter(bool), max_size=8), st.integers(1, 30))
def test_wrapping_only_replaces_spaces(words: list[str], columns: int) -> None:
    text = " ".join(words)
    lines = wrap(text, columns)
    assert " ".join(lines) == text
    assert all(cells(line) <= columns for line in lines if " " in line.strip())


def test_every_sentence_of_the_catalogue_fits_the_default_sign() -> None:
    assert [one.place for one in advices() if DEFAULT_SIGN.misfits(one.text)] == []
    assert [one.place for one in openings() if DEFAULT_SIGN.misfits(one.text.format(n=25))] == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", [""]),
        ("하나", ["하나"]),
        ("하나. 둘? 셋!", ["하나.", "둘?", "셋!"]),
        (" 하나.  둘. ", ["하나.", "둘."]),
        ("3.5도. 네.", ["3.5도.", "네."]),
    ],
)
def test_sentences_end_at_a_mark_and_a_space(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences

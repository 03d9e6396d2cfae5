"""Messages as dots: size, fonts, wrapping, and that nothing is altered."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import SettingError
from core.sign import split_sentences
from signs.errors import NotDrawable
from signs.raster import Align, Font, SignProfile, blank, fits, layout, measure, render, strip

TEXT = "어제보다 10도 올라 포근합니다. 활짝 핀 꽃길을 따라 걸어보세요."
HANGUL = [bytes([a, b]).decode("euc_kr") for a in range(0xB0, 0xC9) for b in range(0xA1, 0xFF)]
# The rows of 가 in each font's BDF file of the same release (galmuri 2.40.3), and the dots left of them.
GA = {
    Font.DOTS_8: (0, 8, "E4 24 24 46 44 84 04"),
    Font.DOTS_12: (0, 16, "FC40 0440 0440 0440 0440 0860 0840 1040 2040 C040 0040"),
    Font.DOTS_16: (1, 16, "FE10 0210 0210 0210 0210 0410 041C 0810 0810 1010 2010 C010 0010 0010"),
}


def dots(picture: Image.Image) -> list[str]:
    return [
        "".join("#" if picture.getpixel((x, y)) else "." for x in range(picture.width)) for y in range(picture.height)
    ]


@pytest.mark.parametrize("size", ["192x48", "96x32", "160x32:12", "64x16", "128x24:8", "320x16:16"])
@pytest.mark.parametrize("align", Align)
def test_pages_have_exactly_the_signs_dots_and_lit_ones(size: str, align: Align) -> None:
    profile = SignProfile.parse(size, align)
    pages = render(TEXT, profile)
    assert len(pages) >= len(split_sentences(TEXT))
    for page in pages:
        assert (page.mode, page.size) == ("1", (profile.width, profile.height))
        assert page.getbbox()
    assert not blank(profile).getbbox()


@pytest.mark.parametrize("font", Font)
def test_every_hangul_of_ks_x_1001_is_drawn_and_inside_its_line(font: Font) -> None:
    assert len(HANGUL) == 2350
    profile = SignProfile(20, font, font, Align.TOP_LEFT)
    pictures = {char: render(char, profile)[0] for char in HANGUL}
    assert len({picture.tobytes() for picture in pictures.values()}) > 2300, "some share a picture only in 8 dots"
    tall = SignProfile(20, 2 * font, font, Align.TOP_LEFT)
    for char in HANGUL[::50]:
        assert render(char, tall)[0].crop((0, 0, 20, font)).tobytes() == pictures[char].tobytes()
        assert not render(char, tall)[0].crop((0, font, 20, 2 * font)).getbbox(), "nothing below its line"


@pytest.mark.parametrize("font", Font)
def test_ascii_is_drawn(font: Font) -> None:
    for char in map(chr, range(0x21, 0x7F)):
        assert render(char, SignProfile(32, 32, font))[0].getbbox()


@pytest.mark.parametrize("font", Font)
def test_a_glyph_has_the_dots_of_the_fonts_own_bitmap(font: Font) -> None:
    left, bits, rows = GA[font]
    drawn = dots(render("가", SignProfile(32, 32, font, Align.TOP_LEFT))[0])
    for row, told in zip(drawn, rows.split(), strict=False):
        expected = "." * left + f"{int(told, 16):0{bits}b}".translate({48: ".", 49: "#"})
        assert row == expected.ljust(32, ".")


def test_widths_are_dots() -> None:
    assert [measure("가나 1", font) for font in Font] == [8 * 2 + 3 + 4, 12 * 2 + 6 * 2, 15 * 2 + 6 + 6]
    assert strip(TEXT, SignProfile.parse("64x16")).size == (measure(TEXT, Font.DOTS_8), 16)


def test_a_line_stands_in_the_middle_or_at_the_top_left() -> None:
    size = "40x40:12"
    assert render("가", SignProfile.parse(size))[0].getbbox() == (14, 14, 25, 25)
    assert render("가", SignProfile.parse(size, Align.TOP_LEFT))[0].getbbox() == (0, 0, 11, 11)


@pytest.mark.parametrize(
    ("size", "font", "lines"),
    [("192x48", 16, 3), ("96x32", 16, 2), ("96x24", 12, 2), ("64x16", 8, 2), ("64x12", 12, 1)],
)
def test_without_a_font_it_is_the_largest_with_two_lines(size: str, font: int, lines: int) -> None:
    profile = SignProfile.parse(size)
    assert (profile.font, profile.lines) == (font, lines)
    assert SignProfile.parse(str(profile)) == profile


@pytest.mark.parametrize("text", ["", "192", "0x48", "192x48:10", "192x7", "192x12:16", "7x48", "9999x16", "192×48"])
def test_other_sizes_are_rejected(text: str) -> None:
    with pytest.raises(SettingError):
        SignProfile.parse(text)


def test_a_sentence_with_more_lines_than_the_sign_continues_on_the_next_page() -> None:
    profile = SignProfile.parse("96x16:16")
    pages = layout(TEXT, profile)
    assert all(len(page) == 1 for page in pages)
    assert " ".join(line for page in pages for line in page) == TEXT
    assert not fits(TEXT, profile)
    assert fits(TEXT, SignProfile.parse("192x48"))


@pytest.mark.parametrize("text", ["뷁", "☃", "어제보다 🌞", unicodedata.normalize("NFD", "가")])
def test_what_the_font_lacks_is_refused(text: str) -> None:
    with pytest.raises(NotDrawable) as caught:
        render(text, SignProfile.parse("192x48"))
    assert text not in caught.value.what or len(text) == 1, "logs have it: it names a character, never the text"
    assert not fits(text, SignProfile.parse("192x48"))


def test_a_word_wider_than_the_sign_is_refused() -> None:
    with pytest.raises(NotDrawable, match="dots"):
        render("포근해졌습니다", SignProfile.parse("64x16:16"))


@given(st.lists(st.sampled_from(HANGUL + list("0123456789,-")), min_size=1, max_size=40).map("".join))
def test_layout_loses_and_adds_nothing(text: str) -> None:
    spaced = " ".join(text[start : start + 4] for start in range(0, len(text), 4))
    pages = layout(spaced, SignProfile.parse("96x32"))
    assert " ".join(line for page in pages for line in page) == spaced

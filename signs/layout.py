"""Pages of lines: one sentence at a time, wrapped at spaces, in whatever a sign's width is measured in.

In: a text, the room of a page. Out: pages, each a tuple of lines; joined by spaces they are the text again.
"""

from collections.abc import Callable

from core.sign import split_sentences, wrap
from signs.errors import NotDrawable

Page = tuple[str, ...]  # its lines


def paginate(text: str, width: int, lines: int, measure: Callable[[str], int], unit: str) -> list[Page]:
    """Return the pages of a text; a sentence of more lines than a page has continues on the next one.

    Args:
        text: one or more sentences.
        width: of a line, in the unit that `measure` returns.
        lines: of a page.
        measure: returns the width of a line.
        unit: its name, for the error.

    Raises:
        NotDrawable: a word is wider than the sign.
    """
    pages: list[Page] = []
    for sentence in split_sentences(text):
        wrapped = wrap(sentence, width, measure)
        if wide := next((line for line in wrapped if measure(line) > width), None):
            raise NotDrawable(
                f"A word has {measure(wide)} {unit}, the sign {width}.", "Check the sign's `size` in the park's file."
            )
        pages += [tuple(wrapped[start : start + lines]) for start in range(0, len(wrapped), lines)]
    return pages

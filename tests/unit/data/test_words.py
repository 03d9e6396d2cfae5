"""The operator's own words: the documented examples are taken, and what is wrong is named with its place and remedy."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.own_words import examples
from core import catalogue, sense, truth
from core.catalogue import ADVICE_COLUMNS, elements
from core.errors import CorpusError
from data import choice, compose
from data.sets import OWN_ROWS, diverse
from data.words import proofread
from pipeline.recipe import ChoicesSection

Own = Callable[[list[str]], None]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    """Let a test write the operator's file; every cached view of the catalogue is forgotten before and after."""
    views = (
        *(catalogue.own_advices, catalogue.advices, catalogue.elements, catalogue.vocabulary),
        *(choice.chosen_advices, compose.advices_at, sense._conditions, truth._names),
    )

    def write(rows: list[str]) -> None:
        path = tmp_path / "own.tsv"
        path.write_text("\n".join(["\t".join(ADVICE_COLUMNS), *rows]) + "\n", encoding="utf-8")
        monkeypatch.setattr(catalogue, "OWN", path)
        for view in views:
            view.cache_clear()

    yield write
    monkeypatch.undo()
    for view in views:
        view.cache_clear()


def test_the_catalogue_itself_is_clean() -> None:
    assert proofread() >= 750


@pytest.mark.parametrize("page", ["docs/words.md", "docs/words.ko.md"])
def test_the_documented_examples_become_training_rows(page: str, own: Own) -> None:
    own(examples(page))
    assert proofread() >= 750
    assert elements()[-1] == "캠핑장"
    rows = diverse(60, 11)["train"]
    texts = [row.split("\t")[-1] for row in examples(page)]
    assert len(texts) == 8
    assert all(sum(row.message.endswith(text) for row in rows) >= OWN_ROWS for text in texts)
    assert all(
        sum(row.message.endswith(text) for row in diverse(60, 11, choices=ChoicesSection(each=2))["train"])
        for text in texts
    )
    told = [row.scene.elements for row in rows if "캠핑장" in row.message and row.scene]
    assert told
    assert all("캠핑장" in names for names in told)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            "15\t24\t\t\t\t햇살 좋은 잔디밭에 누워 보세요.",
            "unmeasured: 햇살.*leave it out.*absent: 잔디밭.*column element",
        ),
        ("15\t24\t\t\t잔디밭\t돗자리를 펴고 쉬어 보세요.", "does not name 잔디밭"),
        ("15\t24\t\t\t\t아주 느긋하게 산책하면서 이야기를 나눠 보세요.", "width: 3 of 2 lines.*shorten"),
        ("15\t24\t\t\t\t가을 산책을 나서 보세요.", "season: 가을.*column seasons"),
        ("15\t24\t\t봄\t\t가을 산책을 나서 보세요.", "season: 가을"),
        ("30\t40\t\t\t\t힘차게 달려 보세요.", "unsafe: .* at 40 °C.*narrow low and high"),
        ("15\t24\t\t\t\t카페에 들러 보세요.", "absent: 카페"),
        ("15\t24\t\t\t\t만 보를 걸어 보세요. 좋습니다.", "not exactly one sentence"),
        ("15\t24\t\t\t\t10분만 걸어 보세요.", "number: 1"),
        ("15\t24\t\t\t\t특보를 살피세요.", "warning: 특보"),
        ("15\t24\t\t\t\tLED를 보세요.", "alphabet: "),
        ("50\t55\t\t\t\t물을 드세요.", "never read"),
    ],
)
def test_a_wrong_sentence_is_refused_with_word_and_remedy(row: str, reason: str, own: Own) -> None:
    own([row])
    with pytest.raises(CorpusError, match=rf"(?s)own\.tsv:2: .*{reason}"):
        proofread()


def test_a_sentence_twice_is_refused(own: Own) -> None:
    own(["15\t24\t\t\t\t요가 매트를 깔고 명상해 보세요."] * 2)
    with pytest.raises(CorpusError, match=r"own\.tsv:3: .* stands in .*own\.tsv:2 already"):
        proofread()

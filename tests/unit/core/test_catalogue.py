"""The catalogue: every sentence passes every check where its conditions hold, and broken tables are refused by line."""

import random
import re
from pathlib import Path

import pytest

from core import catalogue
from core.catalogue import ADVICE_COLUMNS, Condition, Sentence, advices, elements, openings, vocabulary
from core.errors import CorpusError
from core.reading import Reading, usual_grid
from core.season import Season
from core.truth import elements_in
from data.compose import advices_for, compose, openings_for
from data.scenes import random_scene

HEAD = "\t".join(ADVICE_COLUMNS)


def test_the_catalogue_has_the_promised_variety() -> None:
    assert len({one.text for one in openings()}) == len(openings()) >= 150
    assert len({one.text for one in advices()}) == len(advices()) >= 600
    assert len(elements()) >= 15


@pytest.mark.parametrize("season", [None, "봄", "여름", "가을", "겨울"])
def test_every_reading_has_many_sentences(season: str | None) -> None:
    rng = random.Random(1)
    for reading in rng.sample(list(usual_grid()), 400):
        scene = random_scene(rng, Season(season)) if season else None
        assert len(openings_for(reading, season)) >= 3, reading
        assert len(advices_for(reading, scene)) >= 25, (reading, scene)


@pytest.mark.parametrize("one", advices(), ids=lambda one: one.text)
def test_every_advice_can_be_composed_and_names_its_element_only(one: Sentence) -> None:
    assert elements_in(one.text) == ({one.element} if one.element else set())
    rng = random.Random(one.text)
    season = min(one.when.seasons, default="봄")
    fitting = [reading for reading in usual_grid() if one.when.holds(reading, season)]
    for reading in rng.sample(fitting, min(5, len(fitting))):
        scene = random_scene(rng, Season(season), [one.element] if one.element else [])
        if abs(reading.change) < 10:  # after a sudden change, advice that does not speak of it is not composed
            assert compose(reading, scene, rng, one).endswith(one.text)
    assert fitting


def test_words_are_known_without_marks_and_numbers() -> None:
    assert {"어제보다", "도", "물을"} <= vocabulary()
    assert all(re.fullmatch(r"[^\d.,?!{}\s]+", word) for word in vocabulary())


@pytest.mark.parametrize(
    ("change", "reading", "holds"),
    [
        ("", Reading(10, 10), True),
        ("same", Reading(10, 10), True),
        ("same", Reading(9, 10), False),
        ("rise", Reading(9, 10), True),
        ("rise", Reading(11, 10), False),
        ("fall10", Reading(20, 10), True),
        ("fall10", Reading(19, 10), False),
        ("rise5-9", Reading(5, 10), True),
        ("rise5-9", Reading(0, 10), False),
    ],
)
def test_conditions_hold_for_their_changes(change: str, reading: Reading, holds: bool) -> None:
    when = Condition.parse({"low": "10", "high": "12", "change": change, "seasons": ""})
    assert when.holds(reading, None) is holds


def test_a_seasonal_sentence_needs_its_season() -> None:
    when = Condition.parse({"low": "0", "high": "20", "change": "", "seasons": "봄,가을"})
    assert [when.holds(Reading(9, 9), season) for season in ("봄", "가을", "여름", None)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("low\thigh\n", "does not begin with the columns"),
        ("", "does not begin with the columns"),
        (f"{HEAD}\n20\t10\t\t\t\t걸어 보세요.\n", ":2: low 20 is above high 10"),
        (f"{HEAD}\n10\t20\tup\t\t\t걸어 보세요.\n", ":2: the change 'up'"),
        (f"{HEAD}\n10\t20\tsame3\t\t\t걸어 보세요.\n", ":2: the change 'same3'"),
        (f"{HEAD}\n# 설명\n\n10\t20\t\t장마\t\t걸어 보세요.\n", ":4: no season is called 장마"),
        (f"{HEAD}\n10\t20\t\t걸어 보세요.\n", ":2: .*6 columns"),
        (f"{HEAD}\nten\t20\t\t\t\t걸어 보세요.\n", ":2: "),
    ],
)
def test_a_broken_table_is_refused_with_its_line(
    content: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.tsv"
    path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(catalogue, "OWN", path)
    catalogue.own_advices.cache_clear()
    try:
        with pytest.raises(CorpusError, match=f"(?s){re.escape(str(path))}.*{reason}"):
            catalogue.own_advices()
    finally:
        catalogue.own_advices.cache_clear()

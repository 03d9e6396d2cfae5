"""A choice of the catalogue: enough for each reading, nothing needless, and messages that pass every check and vary."""

import random
from collections import Counter

import pytest

from core.catalogue import Sentence, advices, elements, openings
from core.checks import check_message
from core.reading import usual_grid
from core.season import Season
from core.sign import split_sentences
from data.choice import chosen_advices, chosen_openings
from data.compose import compose
from data.lessons import lessons
from data.scenes import cases
from data.sets import diverse, held_out_readings
from pipeline.recipe import LessonsSection, load_recipe
from tests.rooms import ROOT

CHOICES = 4
RECIPE = ROOT / "recipes/smollm2-135m.yaml"
ASKED = [(reading, season) for reading in list(usual_grid())[::7] for season in (*Season, None)]


def test_without_a_number_it_is_the_whole_catalogue() -> None:
    assert chosen_openings(None) == openings()
    assert chosen_advices(None) == advices()


@pytest.mark.parametrize("choices", [2, CHOICES])
def test_every_reading_and_season_has_so_many_of_each_kind(choices: int) -> None:
    def kinds(sentences: tuple[Sentence, ...]) -> Counter[tuple[str, str]]:
        return Counter((one.element, one.when.kind) for one in sentences if one.when.holds(reading, season))

    for reading, season in ASKED:
        for have, all_of_them, of_an_element in (
            (kinds(chosen_openings(choices)), kinds(openings()), {}),
            (kinds(chosen_advices(choices)), kinds(advices()), {"": 1}),
        ):
            for (element, kind), count in all_of_them.items():
                wanted = of_an_element.get(kind, 0) if element else choices
                assert have[element, kind] >= min(wanted, count), (reading, season, element, kind)


def test_it_is_much_less_than_the_catalogue_and_has_the_widest() -> None:
    first, second = chosen_openings(CHOICES), chosen_advices(CHOICES)
    assert len(first) < 0.6 * len(openings())
    assert len(second) < 0.45 * len(advices())
    assert set(first) < set(openings())
    assert set(second) < set(advices())
    assert {one.element for one in second} == {"", *elements()}
    plain = [one for one in advices() if not one.element and not one.when.kind and not one.when.seasons]
    assert max(plain, key=lambda one: one.when.high - one.when.low) in second
    assert not any(one.element and one.when.kind for one in second)


def test_its_messages_pass_every_check_and_vary_as_the_recipe_demands() -> None:
    rng, verdict = random.Random(5), load_recipe(RECIPE).verdict
    composed = [(reading, scene, compose(reading, scene, rng, choices=CHOICES)) for _, reading, scene in cases(1)]
    assert [text for reading, scene, text in composed if check_message(text, reading, scene)] == []
    second = Counter(split_sentences(text)[1] for _, _, text in composed)
    assert set(second) <= {one.text for one in chosen_advices(CHOICES)}
    assert len({text for _, _, text in composed}) / len(composed) >= verdict.distinct
    assert second.most_common(1)[0][1] / len(composed) <= verdict.commonest_activity


def test_rows_and_beginnings_choose_from_it() -> None:
    first, second = ({one.text for one in chosen} for chosen in (chosen_openings(2), chosen_advices(2)))
    rows = diverse(200, 11, choices=2)["train"]
    assert len(rows) >= 200
    for row in rows:
        opening, advice = split_sentences(row.message)
        assert opening.replace(f"{abs(row.reading.change)}도", "{n}도") in first
        assert advice in second
    for lesson in lessons(LessonsSection(beginnings=1000), held_out_readings(), 11, 2):
        assert any(one.format(n=abs(lesson.reading.change)).startswith(lesson.completion) for one in first)

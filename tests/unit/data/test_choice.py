"""A choice of the catalogue: enough for each reading, nothing needless, and messages that pass every check and vary."""

import random
from collections import Counter

import pytest

from core.catalogue import ANY_SIZE, Condition, Sentence, advices, elements, openings
from core.checks import check_message
from core.reading import Reading, usual_grid
from core.season import Season
from core.sign import split_sentences
from data.choice import chosen_advices, chosen_openings, depth
from data.compose import advices_at, compose, openings_for
from data.lessons import lessons
from data.scenes import cases
from data.sets import diverse, held_out_readings
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection, LessonsSection, load_recipe
from tests.rooms import ROOT

CHOICES, TWO = ChoicesSection(each=4), ChoicesSection(each=2)
RECIPE = ROOT / "recipes/smollm2-135m.yaml"
ASKED = [(reading, season) for reading in list(usual_grid())[::7] for season in (*Season, None)]


def test_without_a_number_it_is_the_whole_catalogue() -> None:
    assert chosen_openings(WHOLE_CATALOGUE) == openings()
    assert chosen_advices(WHOLE_CATALOGUE) == advices()


@pytest.mark.parametrize("choices", [TWO, CHOICES])
def test_every_reading_and_season_has_so_many_of_each_kind(choices: ChoicesSection) -> None:
    def kinds(sentences: tuple[Sentence, ...]) -> Counter[tuple[str, str]]:
        return Counter((one.element, one.when.kind) for one in sentences if one.when.holds(reading, season))

    for reading, season in ASKED:
        for have, all_of_them, of_an_element in (
            (kinds(chosen_openings(choices)), kinds(openings()), {}),
            (kinds(chosen_advices(choices)), kinds(advices()), {"": 1}),
        ):
            for (element, kind), count in all_of_them.items():
                wanted = of_an_element.get(kind, 0) if element else choices.each or 0
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
    first, second = ({one.text for one in chosen} for chosen in (chosen_openings(TWO), chosen_advices(TWO)))
    rows = diverse(200, 11, choices=TWO)["train"]
    assert len(rows) >= 200
    for row in rows:
        opening, advice = split_sentences(row.message)
        assert opening.replace(f"{abs(row.reading.change)}도", "{n}도") in first
        assert advice in second
    for lesson in lessons(LessonsSection(beginnings=1000), held_out_readings(), 11, TWO):
        assert any(one.format(n=abs(lesson.reading.change)).startswith(lesson.completion) for one in first)


def test_with_a_margin_a_reading_gets_what_fits_well_inside_or_the_deepest() -> None:
    margin = ChoicesSection(each=4, margin=3)
    met = 0
    for reading, season in ASKED:
        for kept, all_of_them in (
            (openings_for(reading, season, margin), openings_for(reading, season, CHOICES)),
            (advices_at(reading, season, margin), advices_at(reading, season, CHOICES)),
        ):
            for left in set(all_of_them) - set(kept):
                alike = [one for one in kept if (one.element, one.when.kind) == (left.element, left.when.kind)]
                assert not left.when.holds(reading, season, -3)
                assert left.element or len(alike) >= 4
                assert all(depth(one.when, reading) >= depth(left.when, reading) for one in alike)
                met += 1
    assert met > 1000


def test_a_range_that_ends_where_the_grid_ends_has_no_border_there() -> None:
    when = Condition(-50, 5, "fall", 3)
    assert depth(when, Reading.of(-28, -35)) == 4, "the fall of 7 °C"
    assert depth(when, Reading.of(20, 4)) == 1, "5 °C"
    assert depth(Condition(-50, 45), Reading.of(20, 45)) == ANY_SIZE

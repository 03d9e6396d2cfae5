"""The nano base's corpus: what each phase asks, and that its answers are true of the scene they were asked in."""

import random
from collections import Counter
from itertools import islice

import pytest

from core.catalogue import advices, elements
from core.checks import check_message
from core.park import Scene
from core.reading import Reading
from core.season import Season
from data.compose import advices_for, compose
from data.scenes import random_scene
from training.nano.corpus import ANSWERS, park_stream, scene_for
from training.nano.tokenizer import train_tokenizer

BOUND = {advice.text for advice in advices() if advice.element or advice.when.seasons}
READING = Reading(10, 20)


def test_a_name_is_the_same_token_in_the_list_and_in_every_sentence() -> None:
    tokenizer = train_tokenizer(0)
    for name in [*elements(), *Season]:
        token = tokenizer.convert_tokens_to_ids(f" {name}")
        sentences = [f" {advice.text}" for advice in advices() if f" {name}" in f" {advice.text}"]
        listed = [f"있는 것은 {name}, 벤치입니다.", f"있는 것은 벤치, {name}입니다.", f"지금은 {name}이고"]
        for text in [*listed, *sentences]:
            ids = tokenizer.encode(text)
            assert token in ids, text
            assert tokenizer.decode(ids) == text


def test_the_parks_phase_says_what_only_this_park_or_season_allows() -> None:
    talks = list(islice(park_stream(random.Random(2)), 400))
    told = [talk for talk in talks if any(season in talk[-ANSWERS - 1]["content"] for season in Season)]
    answers = [answer["content"] for talk in told for answer in talk[-ANSWERS:]]
    seconds = [answer.rsplit(". ", 1)[-1] for answer in answers if answer.endswith((".", "?", "!"))]
    assert len(seconds) > 600
    assert sum(second in BOUND for second in seconds) / len(seconds) > 0.9


def test_in_the_last_phases_a_path_is_no_likelier_than_a_fountain() -> None:
    rng = random.Random(4)
    scenes = [scene_for("message", rng, even=True) for _ in range(2000)]
    had = Counter(name for scene in scenes if scene for name in scene.elements)
    assert 0.8 < had["산책로"] / had["분수대"] < 1.25
    assert sum(scene is None for scene in scenes) == pytest.approx(400, abs=80), "the plain prompt stays"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_the_composed_sentences_is_bound(share: float) -> None:
    rng, found = random.Random(3), []
    for _ in range(100):
        scene: Scene = random_scene(rng)
        message = compose(READING, scene, rng, bound=share)
        assert not check_message(message, READING, scene)
        if any(advice.text in BOUND for advice in advices_for(READING, scene)):
            found.append(message.rsplit(". ", 1)[-1] in BOUND)
    if share:  # after a sudden fall none of the bound sentences may be safe; then another one is taken
        assert compose(Reading(20, 10), Scene.of("봄", ["쉼터"]), rng, bound=share)
    bound = sum(found) / len(found)
    assert bound == 1.0 if share else 0.05 < bound < 0.9

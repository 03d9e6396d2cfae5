"""The nano base's corpus: what each phase asks, and that its answers are true of the scene they were asked in."""

import random
from itertools import islice

import pytest

from core.catalogue import advices
from core.checks import check_message
from core.park import Scene
from core.reading import Reading
from data.compose import advices_for, compose
from data.scenes import random_scene
from training.nano.corpus import park_stream, scene_for, short_conversation

BOUND = {advice.text for advice in advices() if advice.element or advice.when.seasons}
READING = Reading(10, 20)


def test_short_questions_are_answered_from_the_scene() -> None:
    rng = random.Random(1)
    for _ in range(50):
        scene = scene_for("element", rng)
        assert scene is not None
        question, answer = short_conversation(READING, scene, "element", rng, system=False)
        assert answer["content"] in scene.elements
        assert ", ".join(scene.elements) in question["content"]
        assert "10도" not in question["content"]


def test_the_parks_phase_says_what_only_this_park_or_season_allows() -> None:
    answers = [talk[-1]["content"] for talk in islice(park_stream(random.Random(2)), 400)]
    seconds = [answer.rsplit(". ", 1)[-1] for answer in answers if answer.endswith((".", "?", "!"))]
    assert len(seconds) > 200
    assert sum(second in BOUND for second in seconds) / len(seconds) > 0.9


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

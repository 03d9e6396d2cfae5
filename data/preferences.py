"""Preference pairs for DPO: for each reading a message to prefer, and one with a kind of fault that the original made.

Rejected texts are composed with one fault each, or are the model's own failures from an evaluation. A program may
compose training data, but never the board's text.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.catalogue import advices
from core.checks import check_message
from core.errors import CorpusError
from core.park import Scene, elements_of, season_of
from core.problem import Words, rejecting
from core.prompt import build_messages
from core.reading import Reading
from core.sign import split_sentences
from data.compose import advices_at, compose, echoes, opening, pick_advice
from data.scenes import scene_of
from data.sets import Example, Split, held_out
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection

# The stock phrases of the original's first model: dull, though no check rejects them.
AWKWARD = ("공원에서 활동하세요.", "공원 산책하기 좋아요.", "공원 벤치에서 쉬어가세요.")
FAR = 10  # °C beyond a sentence's own range
TRIES = 8  # messages composed beside a wrong one, until one of their sentences goes with one of its own
LABELLED = ("**전광판 메시지:** {0}", "출력: {0}", "{0}\n---\n{1}", "{0} (또는) {1}")


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference: `chosen` over `rejected`, and the kind of fault."""

    reading: Reading
    scene: Scene | None
    chosen: str
    rejected: str
    kind: str

    def as_conversation(self) -> dict[str, Any]:
        """Return the pair as TRL's conversational preference."""
        return {
            "prompt": build_messages(self.reading, self.scene),
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "kind": self.kind,
        }


def pairs(rows: list[Example], count: int, seed: int) -> list[Pair]:
    """Return `count` composed pairs, every kind in turn; the rows' messages are preferred."""
    rng = random.Random(seed)
    kinds = list(REJECTED)
    changed = [row for row in rows if row.reading.change]  # without a change there is no number to get wrong
    return [_composed(rng.choice(changed), kinds[index % len(kinds)], rng) for index in range(count)]


def _composed(row: Example, kind: str, rng: random.Random) -> Pair:
    return Pair(row.reading, row.scene, row.message, REJECTED[kind](row, rng), kind)


def _wrong_number(row: Example, rng: random.Random) -> str:
    size = abs(row.reading.change)
    other = rng.choice([n for n in (size - 2, size - 1, size + 1, size + 2, size + 10) if n > 0])
    return row.message.replace(f"{size}도", f"{other}도", 1)


def _wrong_direction(row: Example, rng: random.Random) -> str:
    mirrored = Reading(row.reading.today + row.reading.change, row.reading.today)
    return f"{opening(mirrored, row.scene, rng)} {split_sentences(row.message)[1]}"


def _labelled(row: Example, rng: random.Random) -> str:
    return rng.choice(LABELLED).format(row.message, compose(row.reading, row.scene, rng))


def _off_temperature(row: Example, rng: random.Random) -> str:
    """Return the right opening with advice for a day that is much warmer or colder."""
    today = row.reading.today
    far = [one for one in advices() if not one.when.low - FAR <= today <= one.when.high + FAR]
    return f"{opening(row.reading, row.scene, rng)} {rng.choice(far).text}"


def _absent(row: Example, rng: random.Random) -> str:
    """Return the right opening with advice that names what this park does not have."""
    here = {"", *elements_of(row.scene)}
    fitting = [one for one in advices_at(row.reading, season_of(row.scene)) if one.element not in here]
    absent = fitting or [one for one in advices() if one.element not in here]
    return f"{opening(row.reading, row.scene, rng)} {rng.choice(absent).text}" if absent else _off_temperature(row, rng)


def _awkward(row: Example, rng: random.Random) -> str:
    return f"{opening(row.reading, row.scene, rng)} {rng.choice(AWKWARD)}"


def _repetitive(row: Example, rng: random.Random) -> str:
    """Return a message that says one of its sentences twice."""
    first, second = opening(row.reading, row.scene, rng), pick_advice(row.reading, row.scene, rng).text
    return rng.choice([f"{first} {first}", f"{first} {second} {second}"])


REJECTED: dict[str, Callable[[Example, random.Random], str]] = {
    "number": _wrong_number,
    "direction": _wrong_direction,
    "label": _labelled,
    "off_temperature": _off_temperature,
    "absent": _absent,
    "awkward": _awkward,
    "repetitive": _repetitive,
}


def own_pairs(
    path: Path, seed: int, choices: ChoicesSection = WHOLE_CATALOGUE, words: Words = Words.OPEN
) -> dict[Split, list[Pair]]:
    """Return a pair for every answer of a file that fails its checks, by the split to which its reading belongs.

    Args:
        path: a verdict's answers.jsonl: its wrong answers become rejected texts. A report's would add the base's.
        seed: seed for wordings.
        choices: how many sentences of a kind each reading has in a preferred message.
        words: whether an answer with words that the catalogue lacks is a failure.

    Raises:
        CorpusError: the file cannot be read.
    """
    rng = random.Random(seed)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        answers = [(Reading.of(line["yesterday"], line["today"]), scene_of(line), str(line["text"])) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{path} cannot be read as answers: {error}.", "Give a copy of runs/…/verdict/answers.jsonl."
        ) from error
    split_of: dict[Reading, Split] = {reading: split for split, found in held_out().items() for reading in found}
    pairs: dict[Split, list[Pair]] = {"train": [], "validation": [], "test": []}
    for reading, scene, text in dict.fromkeys(answers):
        if text and rejecting(check_message(text, reading, scene), words):
            chosen = _nearest(text, reading, scene, rng, choices)
            pairs[split_of.get(reading, "train")].append(Pair(reading, scene, chosen, text, "own"))
    return pairs


def _nearest(wrong: str, reading: Reading, scene: Scene | None, rng: random.Random, choices: ChoicesSection) -> str:
    """Return a composed message; if one of the wrong text's sentences can stay, the pair differs in the other only."""
    composed = [split_sentences(compose(reading, scene, rng, choices=choices)) for _ in range(TRIES)]
    said = split_sentences(wrong)
    mixed = [pair for first, second in composed for pair in ([said[0], second], [first, said[-1]])]
    near = (" ".join(pair) for pair in mixed if not echoes(*pair))
    return next((text for text in near if not check_message(text, reading, scene)), " ".join(composed[0]))

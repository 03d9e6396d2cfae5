"""Proofread the catalogue: every sentence alone, before messages are composed of it. An operator's own rows come first.

In: core/words. Out: faults, each with the row's place, the word or width at fault, and what to do.
"""

import re

from core.catalogue import Sentence, advices, openings, own_advices
from core.checks import SENTENCE, check_alphabet, check_direction, check_labels, check_number, check_width
from core.errors import CorpusError
from core.park import Scene
from core.problem import Finding, Problem
from core.reading import USUAL_CHANGE, USUAL_RANGE, Reading
from core.safety import check_safety
from core.season import Season
from core.sign import split_sentences
from core.truth import check_park, check_season, check_unmeasured, elements_in

REMEDIES = {
    Problem.WIDTH: "shorten it, or use shorter words: a Hangul syllable takes two cells, a space or a mark one",
    Problem.ALPHABET: "use Hangul syllables, spaces and . , ? ! only",
    Problem.COMMAND: "remove the character: old signs obey it",
    Problem.LABEL: "use another word: this one is a label's",
    Problem.WARNING: "use another word: official warnings are the weather service's",
    Problem.ABSENT: "name it in the column element",
    Problem.SEASON: "name that season in the column seasons, or leave the word out",
    Problem.UNMEASURED: "leave it out: only the temperatures, the season and the park are known",
    Problem.UNSAFE: "say what helps (shade, water, rest; warm clothes, short stays), or narrow low and high",
    Problem.NUMBER: "leave digits out: the message's only number is the change",
    Problem.DIRECTION: "say the change's direction, with 어제, and no other direction",
    Problem.SENTENCES: "write one sentence that ends in . ? or !",
    Problem.SENSE: "correct low and high: readings lie within -35…45 °C",
}


def proofread() -> int:
    """Check every sentence, the operator's own first; return their number.

    Raises:
        CorpusError: some are wrong; the text names the place, the reason and the remedy of each, at most ten.
    """
    own = set(own_advices())
    found = [(one, _faults_of_advice(one)) for one in sorted(advices(), key=lambda one: one not in own)]
    found += [(one, _faults_of_opening(one)) for one in openings()]
    faults = [f"{one.place}: {one.text!r}: {told}" for one, wrong in found for told in _told(wrong)]
    first = {one.text: one.place for one in reversed([*openings(), *advices()])}
    faults += [
        f"{one.place}: {one.text!r} stands in {first[one.text]} already (remove one)"
        for one, _ in found
        if first[one.text] != one.place
    ]
    if faults:
        raise CorpusError("\n".join(faults[:10]), "docs/words.md explains the columns and the rules.")
    return len(found)


def _told(findings: list[Finding]) -> list[str]:
    """Return each kind of fault once, with its remedy."""
    found = {one.problem: one for one in reversed(findings)}
    return [f"{one.problem}: {one.detail} ({REMEDIES[one.problem]})" for one in found.values()]


def _faults_of_opening(sentence: Sentence) -> list[Finding]:
    size = sentence.when.smallest or 1
    rise = {"rise": size, "fall": -size, "same": 0}[sentence.when.kind]
    reading = Reading(sentence.when.low - rise, sentence.when.low)
    text = sentence.text.format(n=size)
    return [*_faults(sentence), *check_number(text, reading), *check_direction(text, reading)]


def _faults_of_advice(sentence: Sentence) -> list[Finding]:
    braces = [Finding(Problem.NUMBER, "{")] if "{" in sentence.text else []
    return [*_faults(sentence), *braces, *_unsafe(sentence)]


def _faults(sentence: Sentence) -> list[Finding]:
    """Return what is wrong with a first or second sentence."""
    text = sentence.text.replace("{n}", str(USUAL_CHANGE))
    found = [*check_labels(text), *check_width(text), *check_alphabet(text)]
    if len(split_sentences(text)) != 1 or not SENTENCE.fullmatch(text):
        found.append(Finding(Problem.SENTENCES, "not exactly one sentence"))
    if digits := re.search(r"\d", sentence.text):
        found.append(Finding(Problem.NUMBER, digits[0]))
    here = tuple(filter(None, [sentence.element]))
    scenes: list[Scene | None] = [Scene(Season(name), here) for name in sorted(sentence.when.seasons)]
    found += [*check_park(text, Scene(Season.SPRING, here)), *check_unmeasured(text)]
    found += [one for scene in scenes or [None] for one in check_season(text, scene)]
    if sentence.element and sentence.element not in elements_in(text):
        found.append(Finding(Problem.ABSENT, f"the text does not name {sentence.element}"))
    return found


def _unsafe(sentence: Sentence) -> list[Finding]:
    """Check both ends of the temperatures on a day without a sudden change."""
    when, (low, high) = sentence.when, USUAL_RANGE
    if when.high < low or when.low > high:
        return [Finding(Problem.SENSE, f"{when.low}…{when.high} °C is never read")]
    ends = (max(when.low, low), min(when.high, high))
    return [one for today in ends for one in check_safety(f"어제와 같습니다. {sentence.text}", Reading(today, today))]

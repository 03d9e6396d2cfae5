"""Score answers: shares and counts from the same checks that the client uses."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from core.checks import check_answer
from core.park import Scene
from core.problem import UNLISTED, Finding, Problem, Words, rejecting
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign, cells, split_sentences
from core.truth import elements_in


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: reading and scene, text, finish reason, number of samples (0: none passed), round of the request."""

    reading: Reading
    scene: Scene | None
    text: str
    finish: str
    tries: int
    seed: int = 0

    def problems(self, sign: Sign = DEFAULT_SIGN) -> list[Finding]:
        """Return its problems; being cut off is one too."""
        return check_answer(self.text, self.finish, self.reading, self.scene, sign)

    def contradictions(self, sign: Sign = DEFAULT_SIGN) -> list[Finding]:
        """Return the problems that are more than unknown words."""
        return rejecting(self.problems(sign), Words.OPEN)


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares (0…1) over all answers, and counts."""

    answers: int
    right: float  # number and direction
    labels: float  # with labels, markers or commentary
    stopped: float  # finish_reason == "stop"
    one_line: float
    fits_temperature: float
    fits_sign: float  # room for it, and only characters that the sign shows
    absent: float  # names what is not in the park
    unsafe: float  # no help where heat or cold is dangerous, or after a sudden change
    untrue: float  # asserts what nobody measured, or another season
    unknown: float  # has a word, or a use of a sentence, that the catalogue lacks; alone it fails no check
    passes: float  # every check
    distinct: float  # different messages, share of one round over the grid (the mean over seeds)
    commonest_activity: float
    distinct_2: float  # different pairs of neighbouring words, share of all pairs in one round
    elements: int  # park elements seen
    mean_cells: float  # width of a message, cells
    max_cells: int
    second_tries: int  # answers that needed more than one sample
    errors: int  # readings without a message


# key, label in tables, format
ROWS = (
    ("answers", "answers", "d"),
    ("right", "number and direction right", ".2%"),
    ("labels", "labels or markers", ".2%"),
    ("stopped", "finish_reason stop", ".2%"),
    ("one_line", "one line, two sentences", ".2%"),
    ("fits_temperature", "fits the temperature", ".2%"),
    ("fits_sign", "fits the sign", ".2%"),
    ("absent", "names what is not in the park", ".2%"),
    ("unsafe", "unsafe in heat, cold or sudden change", ".2%"),
    ("untrue", "asserts what nobody knows", ".2%"),
    ("unknown", "word or use not in the catalogue", ".2%"),
    ("passes", "passes every check", ".2%"),
    ("distinct", "distinct messages", ".2%"),
    ("commonest_activity", "commonest second sentence's share", ".2%"),
    ("distinct_2", "distinct word pairs (distinct-2)", ".2%"),
    ("elements", "park elements seen", "d"),
    ("mean_cells", "mean width, cells", ".1f"),
    ("max_cells", "largest width, cells", "d"),
    ("second_tries", "second tries", "d"),
    ("errors", "no message", "d"),
)
SHAPE = {Problem.EMPTY, Problem.ONE_LINE, Problem.SENTENCES}
SIGN = {Problem.EMPTY, Problem.WIDTH, Problem.ALPHABET, Problem.COMMAND}
# The problems that count against each share of Scores.
FORBIDS = {
    "right": {Problem.EMPTY, Problem.NUMBER, Problem.DIRECTION},
    "labels": {Problem.LABEL},
    "one_line": SHAPE,
    "fits_temperature": {Problem.EMPTY, Problem.SENSE},
    "fits_sign": SIGN,
    "stopped": {Problem.UNFINISHED},
    "absent": {Problem.ABSENT},
    "unsafe": {Problem.UNSAFE},
    "untrue": {Problem.UNMEASURED, Problem.SEASON},
    "unknown": set(UNLISTED),
    "passes": set(Problem) - UNLISTED,
}


def score(answers: Sequence[Answer], sign: Sign = DEFAULT_SIGN) -> Scores:
    """Score the answers; errors count as wrong everywhere."""
    problems = [{found.problem for found in answer.problems(sign)} for answer in answers]
    activities = Counter(split_sentences(answer.text)[-1] for answer in answers if answer.text)
    widths = [cells(answer.text) for answer in answers if answer.text]
    total = len(answers)

    def clean(key: str) -> float:
        return sum(not found & FORBIDS[key] for found in problems) / total

    def having(key: str) -> float:
        return sum(bool(found & FORBIDS[key]) for found in problems) / total

    return Scores(
        answers=total,
        right=clean("right"),
        labels=having("labels"),
        stopped=clean("stopped"),
        one_line=clean("one_line"),
        fits_temperature=clean("fits_temperature"),
        fits_sign=clean("fits_sign"),
        absent=having("absent"),
        unsafe=having("unsafe"),
        untrue=having("untrue"),
        unknown=having("unknown"),
        passes=clean("passes"),
        distinct=_per_round(answers, _distinct),
        commonest_activity=max(activities.values(), default=0) / total,
        distinct_2=_per_round(answers, _distinct_2),
        elements=len(set().union(*(elements_in(answer.text) for answer in answers))),
        mean_cells=sum(widths) / len(widths) if widths else 0.0,
        max_cells=max(widths, default=0),
        second_tries=sum(answer.tries > 1 for answer in answers),
        errors=sum(answer.tries == 0 for answer in answers),
    )


def wrong_in(answers: Sequence[Answer], key: str, sign: Sign = DEFAULT_SIGN) -> list[Answer]:
    """Return the answers that count against a share of `Scores`."""
    return [answer for answer in answers if {found.problem for found in answer.problems(sign)} & FORBIDS[key]]


def table(columns: dict[str, Scores]) -> str:
    """Return scores side by side as a Markdown table."""
    names = list(columns)
    rows = [[label, *(format(getattr(columns[name], key), style) for name in names)] for key, label, style in ROWS]
    return tabulate(rows, ["", *names], tablefmt="github", disable_numparse=True)


def _per_round(answers: Sequence[Answer], measure: Callable[[list[str]], float]) -> float:
    """Return the mean of a measure over the rounds through the grid; variety shrinks with the number of answers."""
    rounds: dict[int, list[str]] = {}
    for answer in answers:
        rounds.setdefault(answer.seed, []).append(answer.text)
    return sum(map(measure, rounds.values())) / len(rounds)


def _distinct(texts: list[str]) -> float:
    return len(set(filter(None, texts))) / len(texts)


def _distinct_2(texts: list[str]) -> float:
    """Distinct-2 of Li et al. 2016 (arXiv 1510.03055): different bigrams of words over all bigrams."""
    pairs = [pair for text in texts for pair in zip(text.split(), text.split()[1:], strict=False)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0

"""What was seen, and what it means: wrong, stale, lost, doubled, and the seconds until the next message. Pure.

All times are the wall clock's, in seconds: the gateways, the sensors and the observer share one machine.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.checks import check_message
from core.park import Scene
from core.problem import Words, rejecting
from core.reading import Reading
from core.sign import Sign

SLACK = 1.0  # seconds: an answer may have been on its way
SIGN_SLACK = 2.0  # a simulated sign ends its timers on the second, and we look at it in between


@dataclass(frozen=True, slots=True)
class Message:
    """A message on a board, as a gateway tells it."""

    board: str
    text: str
    yesterday: int
    today: int
    written_at: float
    scene: Scene | None = None
    sign: str = "20x2"


@dataclass(frozen=True, slots=True)
class Sent:
    """An observation that a sensor sent; `acknowledged`: the broker has taken it."""

    sensor: str
    value: float
    at: float
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A board's message in the database: when the newest observation behind it was made, and when it was written."""

    board: str
    measured_at: float
    written_at: float


@dataclass(frozen=True, slots=True)
class Ask:
    """A caller's wish for a message, with all its retries."""

    began: float
    ended: float
    got: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that must not be, or an error that a caller saw."""

    at: float
    kind: str  # wrong, stale, lost, doubled, untyped, or a problem's code
    detail: str


@dataclass(slots=True)
class Episode:
    """What a sign showed from one moment to another."""

    sign: str
    board: str
    text: str
    since: float
    until: float


@dataclass(slots=True)
class Tally:
    """Everything that was seen."""

    asks: list[Ask] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    messages: dict[Message, float] = field(default_factory=dict)  # → when it was seen first
    made: set[Made] = field(default_factory=set)
    episodes: list[Episode] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    looks: int = 0

    def saw(self, message: Message, at: float, max_age: float, readings: Iterable[tuple[int, int]]) -> None:
        """Count a look at a board that began at a time; note a message that is wrong or stale.

        Args:
            message: what it shows.
            at: when the look began.
            max_age: seconds for which a message may be shown.
            readings: that the board was ever told, yesterday and today.
        """
        self.looks += 1
        if at > message.written_at + max_age + SLACK:
            over = at - message.written_at - max_age
            self.incidents.append(Incident(at, "stale", f"{message.board}: {over:.1f} s after its limit"))
        self.remember(message, at, readings)

    def remember(self, message: Message, at: float, readings: Iterable[tuple[int, int]]) -> None:
        """Keep a message that is or was shown; note it if it is wrong."""
        if message in self.messages:
            return
        self.messages[message] = at
        if found := faults_of(message, readings):
            self.incidents.append(Incident(at, "wrong", f"{message.board}: {message.text!r}: {'; '.join(found)}"))

    def sign_shows(self, sign: str, board: str, text: str, at: float) -> None:
        """Keep what a sign shows at a moment."""
        last = next((one for one in reversed(self.episodes) if one.sign == sign), None)
        if last and last.text == text:
            last.until = at
        else:
            self.episodes.append(Episode(sign, board, text, at, at))

    def judge_signs(self, max_age: float) -> list[Incident]:
        """Return what signs showed that no board did, or for too long; ask once all messages are known."""
        found = []
        for one in self.episodes:
            if not one.text:
                continue
            written = [each.written_at for each in self._of(one) if each.written_at <= one.since + SLACK]
            if not written:
                found.append(Incident(one.since, "wrong", f"{one.sign}: {one.text!r} was on no board"))
            elif (over := one.until - max(written) - max_age) > SIGN_SLACK:
                found.append(Incident(one.until, "stale", f"{one.sign}: {over:.1f} s after its limit"))
        return found

    def _of(self, episode: Episode) -> list[Message]:
        """Return the messages of its board of which a sign shows a page."""
        page = _bare(episode.text)
        return [one for one in self.messages if one.board == episode.board and page in _bare(one.text)]

    def next_ask(self, after: float) -> float | None:
        """Return the seconds until a caller had a message that it asked for after a moment."""
        return _least(one.ended - after for one in self.asks if one.got and one.began >= after)

    def next_message(self, after: float, boards: Sequence[str]) -> float | None:
        """Return the seconds from a moment until one of the boards had the message of an observation made after it."""
        mine = [one for one in self.made if one.board in boards and one.measured_at >= after]
        return _least(one.written_at - after for one in mine)

    def next_page(self, after: float, sign: str) -> float | None:
        """Return the seconds until a sign began to show a page of the message that its board had last."""
        return _least(one.since - after for one in self.episodes if one.sign == sign and self._is_news(one, after))

    def _is_news(self, episode: Episode, after: float) -> bool:
        if not episode.text or episode.since < after:
            return False
        on_board = [one for one in self.messages if one.board == episode.board and one.written_at <= episode.since]
        latest = max(on_board, key=lambda one: one.written_at, default=None)
        return latest is not None and _bare(episode.text) in _bare(latest.text)

    def silence_of_asks(self, begin: float, end: float) -> float:
        """Return the longest time between two answers to callers."""
        return longest_silence([one.ended for one in self.asks if one.got], begin, end)

    def silence_of_boards(self, begin: float, end: float, boards: Sequence[str]) -> float:
        """Return the longest time between two messages on the boards together."""
        return longest_silence([one.written_at for one in self.messages if one.board in boards], begin, end)


def faults_of(message: Message, readings: Iterable[tuple[int, int]]) -> list[str]:
    """Return what is wrong with a message: by the project's own checks, and by what its board was told."""
    found = check_message(
        message.text, Reading(message.yesterday, message.today), message.scene, Sign.parse(message.sign)
    )
    faults = [f"{one.problem}: {one.detail}" for one in rejecting(found, Words.STRICT)]
    if (message.yesterday, message.today) not in set(readings):
        faults.append(f"nobody told this board {message.yesterday} → {message.today} °C")
    return faults


def lost_and_doubled(sent: Iterable[Sent], stored: Iterable[tuple[str, float]]) -> list[Incident]:
    """Compare what the broker took with what the database has, both to the millisecond."""
    kept = Counter((sensor, round(at * 1000)) for sensor, at in stored)
    taken = {(one.sensor, round(one.at * 1000)): one.at for one in sent if one.acknowledged}
    lost = [Incident(at, "lost", sensor) for (sensor, at_ms), at in taken.items() if not kept[sensor, at_ms]]
    doubled = [
        Incident(at_ms / 1000, "doubled", f"{sensor}: {count} times")
        for (sensor, at_ms), count in kept.items()
        if count > 1
    ]
    return lost + doubled


def longest_silence(moments: Iterable[float], begin: float, end: float) -> float:
    """Return the longest time without a moment between two times, the last one before `begin` included."""
    ordered = sorted(moments)
    before = [one for one in ordered if one < begin][-1:] or [begin]
    points = [*before, *(one for one in ordered if begin <= one <= end), end]
    return max(later - earlier for earlier, later in pairwise(points))


def _bare(text: str) -> str:
    """Return a text without spaces: a sign fills its lines with them."""
    return "".join(text.split())


def _least(values: Iterable[float]) -> float | None:
    return min(values, default=None)

"""Checks on a message: counts and comparisons only. Nothing here writes, repairs or pads text."""

import re
import unicodedata

from core.park import Scene, season_of
from core.problem import Finding, Problem
from core.reading import Reading
from core.safety import check_safety
from core.sense import check_sense, check_vocabulary
from core.sign import DEFAULT_SIGN, Sign, split_sentences
from core.truth import check_truth

# Drivers of old signs obey these as commands: markup, colours, fields, escapes. They obey control characters too.
COMMANDS = frozenset("<>{}[]\\^~|@$%&#*`")
# Not a bare 낮, which is the day in 한낮, 대낮, 밤낮; not a bare 같, as in "초여름 같습니다".
RISE = re.compile(
    r"올라|올랐|오르|오른|오를|오릅|상승|높(?:아|았|습|지만|은|으|고|을|긴|기|네)"
    r"|\d도(?:나|쯤)? (?:더 )?(?:따뜻|따스|포근|온화|덥|더[워운])|\d도(?:나|쯤)? 덜 (?:춥|추[워운]|쌀쌀)"
)
FALL = re.compile(
    r"내려|내렸|내리|내린|내릴|내립|떨어|(?<![한대밤])낮(?:아|았|습|지만|은|으|고|을|긴|기|네)|하락|하강"
    r"|\d도(?:나|쯤)? (?:더 )?(?:춥|추[워운]|쌀쌀|서늘|선선|시원)|\d도(?:나|쯤)? 덜 (?:덥|더[워운])"
)
SAME = re.compile(r"어제와 같|똑같|기온이 같|변함이? ?없|그대로|변화가? 없|다름없|어제처럼 이어")
SENTENCE = re.compile(r"[^.?!]*[가-힣][^.?!]*[.?!]")
LABEL_PATTERN = re.compile(
    r"메시지\s*:|출력|입력|전광판|\*\*|---|###|\(또는\)|또는|[<>|:#*`]|assistant|system|user|think", re.IGNORECASE
)
WARNING_STEMS = ("주의보", "경보", "특보", "발령")  # only the weather service may issue these


def check_answer(
    text: str, finish: str, reading: Reading, scene: Scene | None = None, sign: Sign = DEFAULT_SIGN
) -> list[Finding]:
    """Return every problem of a model's answer; `problem.rejecting` says which of them keep it off a board.

    Args:
        text: the model's text.
        finish: OpenAI's `finish_reason`; anything but `stop` means that the answer was cut off.
        reading: the reading in the prompt.
        scene: the scene in the prompt; None: the plain prompt.
        sign: the sign that the text must fit.
    """
    found = check_message(text, reading, scene, sign)
    return found if finish == "stop" else [*found, Finding(Problem.UNFINISHED, finish)]


def check_message(text: str, reading: Reading, scene: Scene | None = None, sign: Sign = DEFAULT_SIGN) -> list[Finding]:
    """Return every problem of a message for a reading and a scene."""
    if not text.strip():
        return [Finding(Problem.EMPTY, "no text")]
    return [
        *check_number(text, reading),
        *check_direction(text, reading),
        *check_labels(text),
        *check_shape(text),
        *check_width(text, sign),
        *check_alphabet(text),
        *check_sense(text, reading, season_of(scene)),
        *check_safety(text, reading),
        *check_truth(text, scene),
        *check_vocabulary(text),
    ]


def check_number(text: str, reading: Reading) -> list[Finding]:
    """Require the difference, followed by 도, as the only number; require no number if nothing changed."""
    size = abs(reading.change)
    expected = [f"{size}도"] if size else []
    found = re.findall(r"[-−]?\d+(?:[.,]\d+)?도?", text)
    return [] if found == expected else [Finding(Problem.NUMBER, f"expected {expected}, found {found}")]


def check_direction(text: str, reading: Reading) -> list[Finding]:
    """Require the first sentence to compare with yesterday in the right direction, and in no other."""
    first = split_sentences(text)[0]
    told = {sign for sign, pattern in ((1, RISE), (-1, FALL), (0, SAME)) if pattern.search(first)}
    sign = (reading.change > 0) - (reading.change < 0)
    if told == {sign} and "어제" in first:
        return []
    return [Finding(Problem.DIRECTION, f"expected {sign:+d}, told {sorted(told)}")]


def check_labels(text: str) -> list[Finding]:
    """Reject labels, turn markers, alternatives and official-warning words."""
    found = [Finding(Problem.LABEL, match) for match in LABEL_PATTERN.findall(text)[:1]]
    return found + [Finding(Problem.WARNING, stem) for stem in WARNING_STEMS if stem in text]


def check_shape(text: str) -> list[Finding]:
    """Require one line with two sentences, each containing Hangul and only one mark, at its end."""
    found = []
    if text != text.strip() or len(text.splitlines()) != 1 or "  " in text:
        found.append(Finding(Problem.ONE_LINE, repr(text)))
    sentences = split_sentences(text)
    if len(sentences) != 2 or not all(SENTENCE.fullmatch(part) for part in sentences):
        found.append(Finding(Problem.SENTENCES, f"{len(sentences)} sentences"))
    return found


def check_width(text: str, sign: Sign = DEFAULT_SIGN) -> list[Finding]:
    """Require every line and every page to fit the sign."""
    return [Finding(Problem.WIDTH, detail) for detail in sign.misfits(text)]


def check_alphabet(text: str) -> list[Finding]:
    """Require NFC and only KS X 1001 Hangul syllables, digits, spaces and `.,?!`; report commands separately."""
    strange = sorted({char for char in text if not _on_sign(char)})
    found = [Finding(Problem.COMMAND, _codes(obeyed))] if (obeyed := [c for c in strange if _is_command(c)]) else []
    if strange or not unicodedata.is_normalized("NFC", text):
        found.append(Finding(Problem.ALPHABET, _codes(strange) or "not NFC"))
    return found


def _codes(chars: list[str]) -> str:
    return " ".join(f"U+{ord(char):04X}" for char in chars)


def _is_command(char: str) -> bool:
    return char in COMMANDS or unicodedata.category(char) == "Cc"


def _on_sign(char: str) -> bool:
    if "가" <= char <= "힣":
        # CPython's euc_kr encodes other syllables too, with an 8-byte escape that no sign understands.
        return len(char.encode("euc_kr", errors="ignore")) == 2
    return char in "0123456789 .,?!"

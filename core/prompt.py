"""The prompt contract: the only module that words the prompt.

Only checked values enter a prompt: two whole numbers, and a scene's words from our closed lists. The chat template
is not here: it belongs to the tokenizer.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Literal, TypedDict

from core.park import Scene
from core.reading import Reading
from core.season import Season

PROMPT_VERSION = 2  # 1 had no scene; its prompts are those of version 2 without one
SYSTEM_PROMPT = (
    "당신은 공원 전광판 메시지 전문가입니다. 어제와 오늘의 기온을 비교해 짧고 친근한 메시지를 한 줄로 작성하세요."
)

# End-of-turn markers of the model families we serve: ChatML, KORMo, Llama 3, Mistral; the protocol takes four. The
# client sends them as stop strings, so that a marker never reaches the board, even if a wrong tokenizer turns it into
# plain text.
STOP_MARKERS = ("<|im_end|>", "<|EOT|>", "<|eot_id|>", "</s>")

# The golden prompt. Training, server and client must turn it into the same token ids.
GOLDEN = (Reading(10, 20), Scene(Season.SPRING, ("산책로", "벤치")))
FINGERPRINT = "signboard-"
PROMPT_FILE = "prompt.json"  # in adapters and checkpoints: the golden prompt as token ids, and its fingerprint
PROMPT_NAME = "signboard-prompt-"  # begins the name under which the models of one prompt are served
USER_TEXT = re.compile(r"(?:지금은 (\S+)이고, 공원에 있는 것은 (.+)입니다\. )?어제 (-?\d+)도, 오늘 (-?\d+)도")


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def user_text(reading: Reading, scene: Scene | None = None) -> str:
    """Return the user turn, e.g. `지금은 봄이고, 공원에 있는 것은 산책로, 벤치입니다. 어제 10도, 오늘 20도`.

    The scene comes first: all of a park's prompts of one season begin alike, so the server computes that part once.
    """
    days = f"어제 {reading.yesterday}도, 오늘 {reading.today}도"
    if scene is None:
        return days
    return f"지금은 {scene.season}이고, 공원에 있는 것은 {', '.join(scene.elements)}입니다. {days}"


def read_user_text(text: str) -> tuple[Reading, Scene | None]:
    """Return what a user turn was built from.

    Raises:
        ValueError: it is not a text of `user_text`; ReadingError and ParkError are such errors, too.
    """
    match = USER_TEXT.fullmatch(text)
    if not match:
        raise ValueError("the user turn is not (지금은 …이고, 공원에 있는 것은 …입니다.) 어제 …도, 오늘 …도")
    season, names, yesterday, today = match.groups()
    scene = Scene.of(season, names.split(", ")) if season else None
    return Reading.of(int(yesterday), int(today)), scene


def build_messages(reading: Reading, scene: Scene | None = None) -> list[Message]:
    """Return the chat messages for a reading: one system turn and one user turn. Without a scene: the plain prompt."""
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": user_text(reading, scene)}]


def fingerprint(ids: Sequence[int]) -> str:
    """Return a short name for the golden prompt's token ids: `signboard-<prompt version>-<tokens>-<hash>`."""
    found = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]
    return f"{FINGERPRINT}{PROMPT_VERSION}-{len(ids)}-{found}"


def prompt_name(version: int = PROMPT_VERSION, golden: Sequence[Message] | None = None) -> str:
    """Return the name under which models of a prompt are served: `signboard-prompt-<version>-<hash of the wording>`.

    Whoever asks by this name gets no answer from a model of another prompt. Unlike a fingerprint it needs no tokenizer.

    Args:
        version: the prompt's; this code's by default.
        golden: its golden prompt, as messages; this code's by default.
    """
    messages = build_messages(*GOLDEN) if golden is None else golden
    wording = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
    return f"{PROMPT_NAME}{version}-{hashlib.sha256(wording.encode()).hexdigest()[:8]}"


def prompt_fits(expected: str, ids: Sequence[int] | None, tokens: int | None) -> bool:
    """Return whether a served golden prompt matches a fingerprint: by its ids or, without them, by their number."""
    if ids is not None:
        return fingerprint(ids) == expected
    return tokens is None or expected.split("-")[2:3] == [str(tokens)]

"""The prompt contract: the only module that words the prompt.

Only two checked whole numbers enter a prompt. The chat template is not here: it belongs to the tokenizer.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, TypedDict

from core.reading import Reading

PROMPT_VERSION = 1
SYSTEM_PROMPT = (
    "당신은 공원 전광판 메시지 전문가입니다. 어제와 오늘의 기온을 비교해 짧고 친근한 메시지를 한 줄로 작성하세요."
)

# End-of-turn markers of the model families we serve (ChatML, KORMo). The client sends them as stop strings, so that a
# marker never reaches the board, even if a wrong tokenizer turns it into plain text.
STOP_MARKERS = ("<|im_end|>", "<|EOT|>")

# The golden reading. Training, server and client must turn its prompt into the same token ids.
GOLDEN = Reading(10, 20)
FINGERPRINT = "signboard-"
PROMPT_FILE = "prompt.json"  # in adapters and checkpoints: the golden prompt as token ids, and its fingerprint


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def user_text(reading: Reading) -> str:
    """Return the user turn, e.g. `어제 10도, 오늘 20도`."""
    return f"어제 {reading.yesterday}도, 오늘 {reading.today}도"


def build_messages(reading: Reading) -> list[Message]:
    """Return the chat messages for a reading: one system turn and one user turn."""
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": user_text(reading)}]


def fingerprint(ids: Sequence[int]) -> str:
    """Return a short name for the golden prompt's token ids: `signboard-<prompt version>-<tokens>-<hash>`."""
    found = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]
    return f"{FINGERPRINT}{PROMPT_VERSION}-{len(ids)}-{found}"


def prompt_fits(expected: str, ids: Sequence[int] | None, tokens: int | None) -> bool:
    """Return whether a served golden prompt matches a fingerprint: by its ids or, without them, by their number."""
    if ids is not None:
        return fingerprint(ids) == expected
    return tokens is None or expected.split("-")[2:3] == [str(tokens)]

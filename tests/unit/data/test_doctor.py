"""The doctor: good files pass, and every kind of fault is rejected with its file, line and reason."""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import CorpusError
from core.park import Scene
from core.prompt import SYSTEM_PROMPT
from core.reading import Reading
from data.build import write_jsonl
from data.doctor import examine
from data.sets import SPLITS, Example, training_sets

PARK = Scene.of("봄", ["잔디밭", "꽃길"])
ROWS = [
    Example(Reading(10, 20), None, "어제보다 10도 올라 화창합니다. 공원 나들이 즐기세요."),
    Example(Reading(5, 20), PARK, "어제보다 15도 올라 따뜻해졌습니다. 잔디밭에서 피크닉 어떠세요?"),
    Example(Reading(35, 22), None, "어제보다 13도 떨어져 쾌적합니다. 산책로를 천천히 걸어보세요."),
]
Json = dict[str, Any]


@pytest.mark.parametrize("name", ["large", "diverse"])
def test_the_real_sets_pass(tmp_path: Path, name: str) -> None:
    for split, rows in training_sets(name, 302, 11).items():
        write_jsonl(tmp_path / f"{split}.jsonl", rows)
    assert examine([tmp_path / f"{split}.jsonl" for split in SPLITS]) == 340


def test_one_pair_may_have_several_messages_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [*ROWS, Example(ROWS[0].reading, None, ROWS[0].message.replace("올라", "상승해"))])
    assert examine([path]) == 4


def message(change: Callable[[str], str]) -> Callable[[Json], str]:
    """Return a fault that changes the message of a row."""

    def spoil(row: Json) -> str:
        row["completion"][0]["content"] = change(row["completion"][0]["content"])
        return json.dumps(row, ensure_ascii=False)

    return spoil


def updated(*place: str | int, value: Any) -> Callable[[Json], str]:
    """Return a fault that puts a value at a place of a row."""

    def spoil(row: Json) -> str:
        inner: Any = row
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return json.dumps(row, ensure_ascii=False)

    return spoil


def asked(scene: str) -> Callable[[Json], str]:
    """Return a fault that tells another scene."""
    return updated("prompt", 1, "content", value=f"{scene} 어제 5도, 오늘 20도")


FAULTS: dict[str, tuple[Callable[[Json], str], str]] = {
    "not json": (lambda row: json.dumps(row)[:-1], "not a conversational"),
    "empty line": (lambda _: "", "not a conversational"),
    "no object": (lambda _: "[]", "not a conversational"),
    "a number": (lambda _: "5", "not a conversational"),
    "missing key": (lambda row: json.dumps({"prompt": row["prompt"]}), "keys"),
    "more keys": (updated("text", value="출력:"), "keys"),
    "empty prompt": (updated("prompt", value=[]), "not a conversational"),
    "no answer": (updated("completion", value=[]), "not a conversational"),
    "two answers": (updated("completion", value=[{"role": "assistant", "content": "하나."}] * 2), "not a convers"),
    "wrong role": (updated("completion", 0, "role", value="user"), "not one assistant turn"),
    "more in the answer": (updated("completion", 0, "name", value="a"), "not one assistant turn"),
    "message is a number": (updated("completion", 0, "content", value=15), "not a conversational"),
    "message is null": (updated("completion", 0, "content", value=None), "not a conversational"),
    "other user turn": (updated("prompt", 1, "content", value="어제 5도, 오늘 20도, 출력:"), "the user turn is not"),
    "fraction": (updated("prompt", 1, "content", value="어제 5.5도, 오늘 20도"), "the user turn is not"),
    "impossible reading": (updated("prompt", 1, "content", value="어제 99도, 오늘 20도"), "yesterday is 99"),
    "full-width digits": (updated("prompt", 1, "content", value="어제 ５도, 오늘 20도"), "prompt is not the one"),
    "other system turn": (updated("prompt", 0, "content", value=SYSTEM_PROMPT + " "), "prompt is not the one"),
    "other prompt role": (updated("prompt", 1, "role", value="system"), "prompt is not the one"),
    "wrong number": (message(lambda text: text.replace("15", "16")), "number: "),
    "other input": (updated("prompt", 1, "content", value="어제 6도, 오늘 20도"), "number: "),
    "wrong direction": (message(lambda text: text.replace("올라", "내려")), "direction: "),
    "label": (message(lambda text: "출력: " + text), "label: 출력"),
    "turn marker": (message(lambda text: text + "<|im_end|>"), "label: "),
    "other season": (asked("지금은 장마이고, 공원에 있는 것은 벤치입니다."), "장마"),
    "other element": (asked("지금은 봄이고, 공원에 있는 것은 카페입니다."), "카페"),
    "not in the park": (asked("지금은 봄이고, 공원에 있는 것은 벤치입니다."), "absent: "),
    "unmeasured": (message(lambda text: text.replace("잔디밭에서", "햇살 아래")), "unmeasured: 햇살"),
    "two lines": (message(lambda text: text.replace(". ", ".\n")), "one_line: "),
    "three sentences": (message(lambda text: text + " 네."), "sentences: 3"),
    "too wide": (message(lambda text: text.replace("잔디밭", "잔디밭" * 5)), "width: "),
    "decomposed": (message(lambda text: unicodedata.normalize("NFD", text)), "alphabet: "),
    "emoji": (message(lambda text: text.replace("?", "😊?")), "alphabet: U\\+1F60A"),
    "official warning": (message(lambda text: text.replace("피크닉", "폭염 특보")), "warning: 특보"),
    "picnic in the cold": (
        updated("prompt", 1, "content", value="어제 -20도, 오늘 -5도"),
        "sense: .*피크닉",
    ),
    "no text": (updated("completion", 0, "content", value=""), "empty: "),
    "duplicate": (lambda _: json.dumps(ROWS[0].as_conversation()), "duplicate of .*train.jsonl:1"),
}


@pytest.mark.parametrize(("spoil", "reason"), FAULTS.values(), ids=FAULTS)
def test_faults_are_rejected_with_place_and_reason(tmp_path: Path, spoil: Callable[[Json], str], reason: str) -> None:
    path = tmp_path / "train.jsonl"
    first, second, third = (row.as_conversation() for row in ROWS)
    lines = [json.dumps(first), spoil(second), json.dumps(third), "a later fault"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=f"(?s)^{re.escape(str(path))}:2: .*{reason}"):
        examine([path])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            Example(ROWS[1].reading, PARK, "어제보다 15도 상승해 포근합니다. 꽃길을 걸어보세요."),
            "also in .*train.jsonl .*leak",
        ),
        (ROWS[1], "duplicate of .*train.jsonl:2"),
    ],
    ids=["leak", "duplicate"],
)
def test_a_leak_between_splits_is_rejected(tmp_path: Path, row: Example, reason: str) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write_jsonl(train, ROWS)
    write_jsonl(test, [row])
    assert examine([train]) == 3
    assert examine([test]) == 1
    with pytest.raises(CorpusError, match=f"^{re.escape(str(test))}:1: .*{reason}"):
        examine([train, test])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot be read"), (b"\xff\xfe", "cannot be read"), (b"", "has no rows")],
    ids=["missing", "not UTF-8", "empty"],
)
def test_unusable_files_are_rejected(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "train.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=f"^{re.escape(str(path))} {reason}.*\n.*make data"):
        examine([path])

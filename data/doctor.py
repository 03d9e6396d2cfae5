"""The doctor: read built JSONL files back and reject the first row that breaks a rule, with file, line and reason."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.checks import check_message
from core.errors import CorpusError, ParkError, ReadingError
from core.park import Scene
from core.problem import Words, rejecting
from core.prompt import build_messages, read_user_text
from core.reading import Reading


@dataclass
class Seen:
    """The doctor's memory across files: the first place of each pair and each row."""

    pairs: dict[Reading, Path] = field(default_factory=dict)
    rows: dict[tuple[Reading, str], str] = field(default_factory=dict)


def examine(files: list[Path]) -> int:
    """Check every row of the files as one set of splits; return the number of rows.

    Raises:
        CorpusError: a row breaks a rule; the text gives its file, line and reason.
    """
    seen, count = Seen(), 0
    for path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{path} cannot be read as UTF-8 text: {error}.", "Build it with `make data`.") from error
        if not lines:
            raise CorpusError(f"{path} has no rows.", "Build it with `make data`.")
        for number, line in enumerate(lines, 1):
            reason = _fault(line, path, f"{path}:{number}", seen)
            if reason:
                raise CorpusError(
                    f"{path}:{number}: {reason}.", "Correct the row, or build the set again with `make data`."
                )
            count += 1
    return count


def _fault(line: str, path: Path, place: str, seen: Seen) -> str:
    """Return the fault of a row, or an empty text."""
    try:
        row = json.loads(line)
        reading, scene, message = _parse(row)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        detail = error.what if isinstance(error, ReadingError | ParkError) else error
        return f"not a conversational prompt/completion row ({detail})"
    if row["prompt"] != build_messages(reading, scene):
        return "the prompt is not the one of core/prompt.py"
    if found := rejecting(check_message(message, reading, scene), Words.OPEN):
        return "; ".join(f"{problem.problem}: {problem.detail}" for problem in found)
    if (reading, message) in seen.rows:
        return f"duplicate of {seen.rows[reading, message]}"
    if seen.pairs.get(reading, path) != path:
        return f"its input pair is also in {seen.pairs[reading]} (a leak between splits)"
    seen.rows[reading, message] = place
    seen.pairs[reading] = path
    return ""


def _parse(row: dict[str, Any]) -> tuple[Reading, Scene | None, str]:
    if set(row) != {"prompt", "completion"}:
        raise ValueError(f"keys {sorted(row)}")
    (answer,) = row["completion"]
    if set(answer) != {"role", "content"} or answer["role"] != "assistant":
        raise ValueError("the completion is not one assistant turn")
    if not isinstance(answer["content"], str):
        raise ValueError("the message is not text")
    return *read_user_text(row["prompt"][-1]["content"]), answer["content"]

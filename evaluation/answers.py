"""Every answer as a line of JSON, with its problems."""

import json
from pathlib import Path

from core.sign import Sign
from evaluation.scores import Answer
from pipeline.files import write_text


def write_answers(path: Path, columns: dict[str, list[Answer]], sign: Sign) -> None:
    """Write every answer as a line of JSON, with its problems."""
    lines = [
        json.dumps(
            {
                "column": name,
                "yesterday": answer.reading.yesterday,
                "today": answer.reading.today,
                "season": answer.scene and answer.scene.season,
                "elements": answer.scene and answer.scene.elements,
                "text": answer.text,
                "finish": answer.finish,
                "tries": answer.tries,
                "seed": answer.seed,
                "problems": [f"{found.problem}: {found.detail}" for found in answer.problems(sign)],
            },
            ensure_ascii=False,
        )
        for name, answers in columns.items()
        for answer in answers
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))

"""A blind panel: readers judge served and hand-written messages without knowing which is which.

Usage:
    python -m benchmarks.panel sheet docs/panel/round-5
    python -m benchmarks.panel tally docs/panel/round-5

In: a running server. Out: sheet-<N>.tsv for each reader, key.json, and, once the readers have written verdict-<N>.tsv
(docs/panel/README.md tells them how), a table.
"""

import asyncio
import csv
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from core.errors import SettingError
from data.sets import Example, handwritten
from evaluation.ask import ask_client
from pipeline.cli import new_app, run_app, show_table
from pipeline.files import write_text

HALF = 60  # messages of either kind on a reader's sheet
COLUMNS = ("id", "yesterday", "today", "season", "park", "message")
VERDICTS = ("id", "machine", "naturalness", "publish", "remark")

app = new_app("Draw sheets for a blind panel, and tally its verdicts.")
FolderArgument = Annotated[Path, typer.Argument(help="The round's folder.")]


@app.command()
def sheet(
    folder: FolderArgument,
    url: Annotated[str, typer.Option(help="Endpoint.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="Served model name.")] = "signboard",
    readers: Annotated[int, typer.Option(min=2)] = 3,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Draw a sheet for each reader: half hand-written, half served for the days and parks of another reader."""
    rng = random.Random(seed)
    written = _spread([row for rows in handwritten().values() for row in rows], HALF * readers, rng)
    cases = [(seed, row.reading, row.scene) for row in written]
    served = [
        Example(answer.reading, answer.scene, answer.text)
        for answer in asyncio.run(ask_client(cases, url, model, "none"))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    key: dict[str, dict[str, str]] = {}
    for reader in range(readers):
        mine = [("hand", row) for row in written[reader::readers]]
        mine += [("machine", row) for row in served[(reader + 1) % readers :: readers] if row.message]
        rng.shuffle(mine)
        rows = [_row(number, example) for number, (_, example) in enumerate(mine, 1)]
        write_text(folder / f"sheet-{reader + 1}.tsv", "".join("\t".join(row) + "\n" for row in (COLUMNS, *rows)))
        key[str(reader + 1)] = {str(number): source for number, (source, _) in enumerate(mine, 1)}
    write_text(folder / "key.json", json.dumps(key) + "\n")


@app.command()
def tally(folder: FolderArgument) -> None:
    """Print what the readers found, by source and reader."""
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    found: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for reader, sources in key.items():
        path = folder / f"verdict-{reader}.tsv"
        verdicts = {row["id"]: row for row in _read(path)}
        if set(verdicts) != set(sources):
            raise SettingError(f"{path} does not judge every message.", "Ask the reader again.")
        for number, source in sources.items():
            found[source, reader].append(verdicts[number])
            found[source, "all"].append(verdicts[number])
    header = ["", "messages", "taken for machine-made", "naturalness", "publishable", "2 or below"]
    rows = [[f"{source}, reader {reader}", *_summary(mine)] for (source, reader), mine in sorted(found.items())]
    show_table(str(folder), [header, *rows])


def _summary(rows: list[dict[str, str]]) -> list[str]:
    marks = [int(row["naturalness"]) for row in rows]
    machine = sum(row["machine"] == "1" for row in rows) / len(rows)
    publish = sum(row["publish"] == "1" for row in rows) / len(rows)
    low = sum(mark <= 2 for mark in marks)
    return [str(len(rows)), f"{machine:.0%}", f"{sum(marks) / len(marks):.2f}", f"{publish:.0%}", str(low)]


def _spread(rows: list[Example], count: int, rng: random.Random) -> list[Example]:
    """Pick rows so that every part of today's range has its share, in random order."""
    shuffled = sorted(rng.sample(rows, len(rows)), key=lambda row: row.reading.today)
    picked = [shuffled[index * len(shuffled) // count] for index in range(count)]
    return rng.sample(picked, count)


def _row(number: int, example: Example) -> tuple[str, ...]:
    scene, reading = example.scene, example.reading
    told = (scene.season.value, ", ".join(scene.elements)) if scene else ("", "")
    return (str(number), str(reading.yesterday), str(reading.today), *told, example.message)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        raise SettingError(f"{path} is missing.", "Give the reader docs/panel/README.md and the sheet.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) != VERDICTS:
        raise SettingError(f"{path} lacks the columns {', '.join(VERDICTS)}.", "docs/panel/README.md explains them.")
    return rows


if __name__ == "__main__":
    run_app(app)

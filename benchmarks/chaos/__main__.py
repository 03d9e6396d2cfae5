"""Start the whole service, load it, break each component in turn, and judge what boards, signs and callers saw.

Usage: python -m benchmarks.chaos [--checkpoint runs/nano/awq] [--components gateway-1] [--kinds kill] [--rounds 2]
In: a 4-bit checkpoint; mosquitto, HAProxy and PostgreSQL. Everything listens on loopback. Out: a table, and
runs/chaos/report.json and report.md. Exit code 1 if a message was wrong or stale, or an acknowledged observation lost.
"""

import asyncio
import logging
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.chaos.faults import COMPONENTS, Chaos, Kind
from benchmarks.chaos.load import Load
from benchmarks.chaos.report import Report
from benchmarks.chaos.service import SENSORS, Plan, Service, check_machine
from benchmarks.chaos.tally import Tally, lost_and_doubled
from core.command_line import interrupt_on_sigterm
from core.errors import SettingError
from pipeline.cli import DEFAULT_RECIPE, console, run_app
from pipeline.recipe import load_recipe

FOLDER = Path("runs/chaos")
DRAIN = 10.0  # seconds at the end in which what the sensors still have arrives


def main(
    recipe: Annotated[Path, typer.Option(help="How the checkpoint is served.")] = DEFAULT_RECIPE,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The 4-bit checkpoint's folder; by default the recipe's.")
    ] = None,
    components: Annotated[str, typer.Option(help="Which to break, with commas.")] = ",".join(COMPONENTS),
    kinds: Annotated[str, typer.Option(help="How, with commas.")] = ",".join(Kind),
    rounds: Annotated[int, typer.Option(min=1, help="How often each.")] = 2,
    seconds: Annotated[float, typer.Option(min=0, help="Of pause between two faults.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the callers' readings.")] = 1,
    parks: Annotated[int, typer.Option(min=2, max=60, help="Boards with a sensor.")] = 24,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two observations of a sensor.")] = 20,
    max_age: Annotated[float, typer.Option(min=30, help="Seconds for which a message may be shown.")] = 60,
) -> None:
    """Break everything."""
    interrupt_on_sigterm()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    chosen = _chosen(components, COMPONENTS)
    ways = [Kind(one) for one in _chosen(kinds, [*Kind])]
    found = load_recipe(recipe)
    folder = FOLDER / "run"
    shutil.rmtree(folder, ignore_errors=True)
    plan = Plan((checkpoint or found.folder / "awq").absolute(), folder.absolute(), parks, every, max_age)
    check_machine(plan)
    service = Service(found, plan)
    report = asyncio.run(_run(service, chosen, ways, rounds, seconds, seed))
    report.write(FOLDER)
    console.print(report.markdown(), soft_wrap=True, markup=False, highlight=False)
    raise SystemExit(int(report.failed))


def _chosen(text: str, known: "list[str] | tuple[str, ...] | list[Kind]") -> list[str]:
    """Return the names in a text.

    Raises:
        SettingError: one is not known.
    """
    names = text.split(",")
    if unknown := sorted(set(names) - set(known)):
        raise SettingError(f"{', '.join(unknown)} cannot be broken.", f"Choose from {', '.join(known)}.")
    return names


async def _run(
    service: Service, components: list[str], kinds: list[Kind], rounds: int, pause: float, seed: int
) -> Report:
    tally = Tally()
    chaos = Chaos(service, tally, pause, _tell)
    try:
        await service.start(_tell)
        begin = time.monotonic()
        await chaos.run(components, kinds, rounds, Load(service, tally, seed))
        seconds = time.monotonic() - begin
        await _judge(service, tally)
    finally:
        await service.stop()
    return Report(service, tally, chaos.faults, seconds)


async def _judge(service: Service, tally: Tally) -> None:
    """Let the sensors end, wait for what is on its way, and compare what was taken with the database."""
    for name in SENSORS:
        service.programs[name].begin_stop()
    end = time.monotonic() + DRAIN
    while True:
        tally.sent = service.sent()
        found = lost_and_doubled(tally.sent, await asyncio.to_thread(service.stored))
        if not any(one.kind == "lost" for one in found) or time.monotonic() > end:
            break
        await asyncio.sleep(0.5)
    tally.incidents += [*found, *tally.judge_signs(service.plan.max_age)]


def _tell(text: str) -> None:
    console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim] {text}", highlight=False)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

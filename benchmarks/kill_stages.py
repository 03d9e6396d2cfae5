"""Kill the build at random moments with SIGKILL, again and again, then let it finish: is the result verified?

Usage: python -m benchmarks.kill_stages [--times 10] [--seed 1]
Runs data → training → merge under runs/kill; a killed training goes on with --resume. Not run by `make test`, which
kills each stage once at a chosen moment instead.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from core.errors import ArtefactError
from pipeline.cli import run_app, show_table
from pipeline.manifest import verify

NAME = "kill"
RUN = Path("runs") / NAME
ROOMS = (["data", "build"], ["training", "sft", "--resume"], ["merge", "all"])
STAGES = ("data", "base", "adapter", "merged", "awq")
LONGEST = 45.0  # seconds; the undisturbed build takes about this long
DONE = "nothing, it was done"


def main(
    times: Annotated[int, typer.Option(min=1, help="How often to kill.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 1,
) -> None:
    """Kill, look, and finish."""
    shutil.rmtree(RUN, ignore_errors=True)
    rng = random.Random(seed)
    rows = [["kill", "after, s", "killed in", "verified artefacts left", "half-made folders left"]]
    while len(rows) <= times:
        delay = rng.uniform(0.5, LONGEST)
        killed = build(delay)
        if killed == DONE:  # too late to kill anything: begin again, it does not count
            shutil.rmtree(RUN)
            continue
        found = " ".join(verified()) or "none", " ".join(partial()) or "none"
        rows.append([str(len(rows)), f"{delay:.1f}", killed, *found])
    killed = build(None)
    left = partial()
    show_table(f"{times} kills", rows)
    print(
        f"then undisturbed: {killed}; verified in full: {' '.join(verified())}; half-made: {' '.join(left) or 'none'}"
    )
    if killed != DONE or set(verified()) != set(STAGES) or left:
        raise SystemExit(1)


def build(delay: float | None) -> str:
    """Run the rooms, killing after `delay` seconds; return the room that was killed."""
    end = time.monotonic() + delay if delay is not None else None
    for room in ROOMS:
        command = [sys.executable, "-m", *room, "--set", f"name={NAME}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(None if end is None else max(0.01, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return room[0]
        if code:
            raise SystemExit(f"{' '.join(command)} failed with code {code}")
    return DONE


def verified() -> list[str]:
    """Return the artefacts that verify in full."""
    found = []
    for stage in STAGES:
        try:
            verify(RUN / stage, full=True)
        except ArtefactError:
            continue
        found.append(stage)
    return found


def partial() -> list[str]:
    """Return the hidden folders that a killed stage left."""
    return sorted(path.name for path in RUN.glob(".*.partial"))


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

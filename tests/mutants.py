"""Put plausible bugs into a copy of the tree, one at a time, and see that the tests named for each notice it.

Usage: python -m tests.mutants [ID…]
In: tests/mutants.toml and the working tree, which stays as it is. Out: a Markdown table; exit code 1 if a bug survives.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from tabulate import tabulate

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests/mutants.toml"
PASSED, FAILED = 0, 1  # exit codes of pytest


class Mutant(BaseModel):
    """A plausible bug: which text it replaces, and which tests must fail with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    bug: str  # in one sentence
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = Field(min_length=1)  # pytest node ids; without brackets: one of its cases must fail
    before: str  # what noticed it before tests were written for it

    def problem(self, root: Path) -> str | None:
        """Return why it cannot be put into a tree; None: it can."""
        count = (root / self.file).read_text(encoding="utf-8").count(self.old)
        return None if count == 1 else f"{self.id}: its old text is {count} times in {self.file}, not once"

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """Change the tree, and change it back."""
        if problem := self.problem(root):
            raise SystemExit(problem)
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """Return the list."""
    return [Mutant.model_validate(entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]


def copy_tree(target: Path) -> None:
    """Copy the files that git knows or would take, and link the virtual environment."""
    names = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, text=True)  # noqa: S607
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # a removed file may not be committed yet
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / ".venv").symlink_to(ROOT / ".venv")


def failing(root: Path, tests: set[str]) -> set[str]:
    """Run tests in a tree; return those that fail."""
    command = [sys.executable, "-m", "pytest", "-rfE", "--tb=no", *sorted(tests)]
    # Not a byte of Python's cache: a mutant of the same size and second would not be seen to differ.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (PASSED, FAILED):
        raise SystemExit(f"pytest ended with code {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return {test for test in tests if any(name.split(" ")[0] == test or name.startswith(f"{test}[") for name in failed)}


def main() -> None:
    """Apply each mutant that is asked for, run its tests, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="of mutants; all of them by default")
    wanted = parser.parse_args().ids
    mutants = [mutant for mutant in read_mutants() if not wanted or mutant.id in wanted]
    if unknown := set(wanted) - {mutant.id for mutant in mutants}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    rows, survivors = [], 0
    with tempfile.TemporaryDirectory(prefix="signboard-mutants-") as folder:
        root = Path(folder)
        copy_tree(root)
        if broken := failing(root, {test for mutant in mutants for test in mutant.tests}):
            raise SystemExit(f"These tests fail without any mutant: {', '.join(sorted(broken))}.")
        for mutant in mutants:
            with mutant.applied(root):
                caught = failing(root, set(mutant.tests))
            missed = set(mutant.tests) - caught
            survivors += bool(missed)
            told = ", ".join(f"`{test}`" for test in sorted(caught)) or "nothing"
            told += "".join(f"; NOT by `{test}`" for test in sorted(missed))
            rows.append([mutant.id, mutant.bug, told, mutant.before])
            print(f"{mutant.id}: {'caught' if not missed else 'SURVIVED'}", file=sys.stderr, flush=True)
    print(tabulate(rows, ["id", "bug", "caught by", "caught before"], tablefmt="github", disable_numparse=True))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()

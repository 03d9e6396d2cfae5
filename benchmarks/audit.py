"""What can be said of the installed packages: `make audit`.

In: this Python's environment, requirements/*.txt. Out: a table, and what is wrong; exit code 1 if anything is.

Without internet two of three checks work: the versions against the pins, and every file against the hash that its wheel
recorded. For known weaknesses pip-audit asks PyPI; without internet the table says that nobody looked.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path

from core.errors import StageError
from pipeline.cli import console, run_app, show_table

ROOT = Path(__file__).parents[1]
PIP_AUDIT = Path(sys.prefix) / "audit/bin/pip-audit"
SECONDS = 600.0  # for pip-audit: it asks for one package after the other
INSTALLERS = {"pip", "setuptools", "uv"}  # they come with the environment


@dataclass(frozen=True)
class Result:
    """One check's outcome: what was looked at and what is wrong with it; `wrong` is None if nobody could look."""

    check: str
    said: str
    wrong: tuple[str, ...] | None

    @property
    def verdict(self) -> str:
        """The word in the table."""
        return "not checked" if self.wrong is None else f"{len(self.wrong)} wrong" if self.wrong else "ok"


def pinned_here() -> list[Path]:
    """Return the requirement files of this environment: the GPU's or the CPU's, whichever vLLM is installed."""
    gpu = any(normal(one.name) == "vllm" for one in distributions())
    return [ROOT / f"requirements/{name}.txt" for name in ("gpu" if gpu else "cpu", "dev", "sign")]


def normal(name: str) -> str:
    """Return a package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(paths: Iterable[Path]) -> dict[str, str]:
    """Return name → version of requirement files with exact pins."""
    lines = [line.split(";")[0].strip() for path in paths for line in path.read_text().splitlines()]
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


def check_versions(found: Iterable[Distribution], pinned: dict[str, str]) -> Result:
    """Compare the installed versions with the pins; a package without a pin came from elsewhere."""
    installed = {normal(one.name): one.version for one in found}
    wrong = [
        f"{name} {version} is installed, " + (f"{pinned[name]} is pinned" if name in pinned else "nothing is pinned")
        for name, version in installed.items()
        if name not in INSTALLERS and pinned.get(name) != version
    ]
    return Result("versions", f"{len(installed)} packages against the pins", tuple(sorted(wrong)))


def check_files(found: Iterable[Distribution]) -> Result:
    """Compare every installed file with the hash that its package recorded."""
    files = [(one, path) for one in found for path in one.files or () if path.hash]
    wrong = tuple(f"{one.name}: {path}" for one, path in files if not _as_recorded(path))
    return Result("files", f"{len(files)} files against the hashes of their wheels", wrong)


def _as_recorded(path: PackagePath) -> bool:
    assert path.hash
    try:
        with Path(str(path.locate())).open("rb") as file:
            digest = hashlib.file_digest(file, path.hash.mode).digest()
    except OSError:
        return False
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == path.hash.value


def check_weaknesses(requirements: list[Path], pip_audit: Path = PIP_AUDIT) -> Result:
    """Ask PyPI for known weaknesses of every pinned package.

    Raises:
        StageError: pip-audit is not installed.
    """
    if not pip_audit.exists():
        raise StageError(f"{pip_audit} is missing.", "Run `make audit`, which installs it.")
    given = [part for path in requirements for part in ("--requirement", str(path))]
    command = [str(pip_audit), *given, "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return Result("known weaknesses", f"no answer of PyPI within {SECONDS:.0f} s", None)
    except (ValueError, KeyError):  # it prints no report when it cannot reach PyPI
        return Result("known weaknesses", "PyPI cannot be reached: look where there is internet", None)
    wrong = [f"{one['name']} {one['version']}: {bug['id']}" for one in packages for bug in one.get("vulns", ())]
    return Result("known weaknesses", f"{len(packages)} packages, as PyPI knows them today", tuple(wrong))


def main() -> int:
    """Check everything and print the table; return 1 if something is wrong."""
    found, requirements = list(distributions()), pinned_here()
    results = [check_versions(found, pins(requirements)), check_files(found), check_weaknesses(requirements)]
    show_table("audit", [["check", "of", "result"], *([one.check, one.said, one.verdict] for one in results)])
    for one in results:
        for fault in one.wrong or ():
            console.print(f"[red]{one.check}[/red] {fault}", highlight=False)
    return int(any(one.wrong for one in results))


if __name__ == "__main__":
    run_app(main)

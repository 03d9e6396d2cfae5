"""Artefacts: complete or absent, skipped while nothing changed, rejected after any change."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import ArtefactError, SignboardError, StageError
from pipeline.files import hash_file
from pipeline.graph import MADE_FROM
from pipeline.manifest import MANIFEST, Manifest, read_manifest, verify
from pipeline.stage import run_stage
from tests.conftest import ROOT

SLOW_BUILD = """
import sys
from pathlib import Path
from pipeline.stage import run_stage

def build(folder):
    (folder / "half.txt").write_text("half")
    print("building", flush=True)
    sys.stdin.read()  # until it is killed
    return {}

run_stage(Path(sys.argv[1]), format=1, recipe="test", settings={"text": sys.argv[2]}, inputs={}, build=build)
"""


def make(
    folder: Path, text: str = "one", inputs: dict[str, Path] | None = None, **options: Any
) -> tuple[Manifest, bool]:
    """Build an artefact of two files with a setting in them."""

    def build(partial: Path) -> dict[str, Any]:
        assert list(partial.iterdir()) == []
        (partial / "sub").mkdir()
        (partial / "a.txt").write_text(text)
        (partial / "sub" / "b.txt").write_text("b")
        return {"length": len(text)}

    defaults: dict[str, Any] = {
        "format": 1,
        "recipe": "test",
        "settings": {"text": text},
        "inputs": inputs or {},
        "build": build,
    }
    return run_stage(folder, **(defaults | options))


def denied(_: Path) -> dict[str, Any]:
    raise PermissionError


def fail(_: Path) -> dict[str, Any]:
    raise AssertionError("built, but should not have been")


@contextmanager
def building(folder: Path, text: str = "one") -> Iterator[subprocess.Popen[str]]:
    """Start a build in another process and wait until it is half done; kill it with SIGKILL at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_BUILD, str(folder), text],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "building\n"
            yield process
        finally:
            process.kill()
    assert process.returncode == -9


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit an artefact's manifest."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


def test_an_artefact_is_built_with_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "data"
    manifest, built = make(folder)
    assert built
    assert names(folder.parent) == {"data", ".lock"}
    assert names(folder) == {"a.txt", "sub", MANIFEST}
    assert {name: (entry.size, entry.sha256) for name, entry in manifest.files.items()} == {
        "a.txt": (3, hashlib.sha256(b"one").hexdigest()),
        "sub/b.txt": (1, hashlib.sha256(b"b").hexdigest()),
    }
    assert (manifest.stage, manifest.recipe, manifest.settings) == ("data", "test", {"text": "one"})
    assert manifest.results == {"length": 3}
    assert manifest.versions["torch"]
    assert manifest.created
    assert read_manifest(folder) == verify(folder) == verify(folder, full=True) == manifest


def test_peak_memory_is_in_bytes(tmp_path: Path) -> None:
    """At least what this process holds now, give or take what the kernel counts late; at most what the machine has."""
    manifest, _ = make(tmp_path / "data")
    assert psutil.Process().memory_info().rss / 2 < manifest.peak_memory < psutil.virtual_memory().total


def test_a_second_run_is_skipped(tmp_path: Path) -> None:
    first, _ = make(tmp_path / "data")
    assert make(tmp_path / "data", build=fail) == (first, False)


def test_force_rebuilds(tmp_path: Path) -> None:
    first, _ = make(tmp_path / "data")
    second, built = make(tmp_path / "data", force=True)
    assert built
    assert second.id == first.id


def test_comparing_builds_and_keeps_the_old_artefact_if_nothing_differs(tmp_path: Path) -> None:
    contents = iter(["one", "one", "two"])

    def build(partial: Path) -> dict[str, Any]:
        (partial / "a.txt").write_text(next(contents))
        return {}

    first, _ = make(tmp_path / "data", build=build)
    assert make(tmp_path / "data", build=build, compare=True) == (first, False)
    assert names(tmp_path) == {"data", ".lock"}
    second, built = make(tmp_path / "data", build=build, compare=True)
    assert built
    assert verify(tmp_path / "data", full=True) == second
    assert (tmp_path / "data" / "a.txt").read_text() == "two"


@pytest.mark.parametrize(
    "change", [{"settings": {"text": "two"}}, {"settings": {}}, {"recipe": "other"}, {"format": 2}]
)
def test_changed_settings_rebuild(tmp_path: Path, change: dict[str, Any]) -> None:
    first, _ = make(tmp_path / "data")
    second, built = make(tmp_path / "data", **change)
    assert built
    assert second.id != first.id
    assert verify(tmp_path / "data", full=True) == second


def test_changed_inputs_rebuild(tmp_path: Path) -> None:
    plain, data, base = tmp_path / "rows.tsv", tmp_path / "data", tmp_path / "base"
    plain.write_text("one")
    make(data)
    inputs = {"rows.tsv": plain, "data": data}
    first, _ = make(base, inputs=inputs)
    assert first.inputs == {"rows.tsv": hash_file(plain), "data": verify(data).id}
    assert not make(base, inputs=inputs)[1]
    plain.write_text("two")
    assert make(base, inputs=inputs)[1]
    make(data, "two")
    assert make(base, inputs=inputs)[1]
    assert make(base, inputs={"data": data})[1]
    assert not make(base, inputs={"data": data})[1]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "shorter file": (lambda folder: (folder / "a.txt").write_text("on"), r"a\.txt has 2 bytes instead of 3"),
    "missing file": (lambda folder: (folder / "sub" / "b.txt").unlink(), r"b\.txt is missing"),
    "extra file": (lambda folder: (folder / "c.txt").touch(), r"c\.txt does not belong"),
    "extra hidden file": (lambda folder: (folder / "sub" / ".c").touch(), r"\.c does not belong"),
    "extra inner manifest": (lambda folder: (folder / "sub" / MANIFEST).touch(), "does not belong"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "no finished artefact"),
    "no folder": (shutil.rmtree, "no finished artefact"),
    "cut manifest": (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
    "manifest in no text": (lambda folder: (folder / MANIFEST).write_bytes(b"\xff"), "cannot be read"),
    "key added": (lambda folder: edit(folder, lambda m: m.update(more=1)), "cannot be read"),
    "key removed": (lambda folder: edit(folder, lambda m: m.pop("settings")), "cannot be read"),
    "file removed": (lambda folder: edit(folder, lambda m: m["files"].pop("a.txt")), "was edited"),
    "file added": (lambda folder: edit(folder, lambda m: m["files"].update(c=m["files"]["a.txt"])), "was edited"),
    "size edited": (lambda folder: edit(folder, lambda m: m["files"]["a.txt"].update(size=4)), "was edited"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_artefact_is_rejected_and_rebuilt(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    folder = tmp_path / "data"
    first, _ = make(folder)
    damage(folder)
    with pytest.raises(ArtefactError, match=reason) as caught:
        verify(folder)
    assert "make data" in caught.value.todo
    second, built = make(folder)
    assert built
    assert second.id == first.id
    assert verify(folder, full=True) == second


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["files"]["a.txt"].update(sha256="0" * 64),
        lambda m: m.update(recipe="other"),
        lambda m: m.update(stage="adapter"),
        lambda m: m["settings"].update(text="two"),
        lambda m: m["versions"].update(torch="0"),
        lambda m: m["inputs"].update(rows="0" * 64),
        lambda m: m["inputs"].update(base="0" * 64),
        lambda m: m["results"].update(length=2),
        lambda m: m.update(format=2),
    ],
    ids=["sha256", "recipe", "stage", "settings", "versions", "inputs", "ancestor", "results", "format"],
)
def test_an_edited_manifest_is_rejected(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    make(tmp_path / "data")
    edit(tmp_path / "data", change)
    with pytest.raises(ArtefactError):
        verify(tmp_path / "data", full=True)


def test_an_alteration_of_the_same_size_is_detected(tmp_path: Path) -> None:
    make(tmp_path / "data")
    (tmp_path / "data" / "a.txt").write_text("eno")
    with pytest.raises(ArtefactError, match=r"a\.txt is not the file that was built"):
        verify(tmp_path / "data")


def test_large_files_are_hashed_at_their_ends_and_in_full_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.manifest.SMALL", 2)  # a.txt counts as large
    monkeypatch.setattr("pipeline.files.END", 1)
    folder = tmp_path / "data"
    manifest, _ = make(folder)
    assert [bool(manifest.files[name].ends) for name in ("a.txt", "sub/b.txt")] == [True, False]
    (folder / "a.txt").write_text("o_e")  # corrupted in the middle
    assert verify(folder) == manifest
    with pytest.raises(ArtefactError, match=r"a\.txt is not the file that was built"):
        verify(folder, full=True)
    for other in ("_ne", "on_"):  # swapped or cut and padded
        (folder / "a.txt").write_text(other)
        with pytest.raises(ArtefactError, match=r"a\.txt is not the file that was built"):
            verify(folder)


def test_an_artefact_of_another_stage_is_rejected(tmp_path: Path) -> None:
    make(tmp_path / "base")
    shutil.copytree(tmp_path / "base", tmp_path / "awq")
    with pytest.raises(ArtefactError, match="holds a base artefact"):
        verify(tmp_path / "awq")


def chain(run: Path) -> list[Manifest]:
    """Build data, base → adapter → merged."""
    return [make_stage(run, stage) for stage in ("data", "base", "adapter", "merged")]


def make_stage(run: Path, stage: str, text: str = "one") -> Manifest:
    """Build an artefact from the artefacts that its stage needs."""
    return make(run / stage, text, inputs={name: run / name for name in MADE_FROM.get(stage, ())})[0]


def test_a_chain_keeps_all_its_ancestors(tmp_path: Path) -> None:
    *before, merged = chain(tmp_path)
    assert merged.inputs == {link.stage: link.id for link in before}
    assert {key: link.stage for key, link in merged.ancestors.items()} == {link.id: link.stage for link in before}
    assert all(link.id == key and link.ancestors == {} for key, link in merged.ancestors.items())
    copied = shutil.copytree(tmp_path / "merged", tmp_path / "elsewhere" / "merged")
    assert verify(copied, full=True) == merged


@pytest.mark.parametrize("stage", ["data", "adapter"])
@pytest.mark.parametrize("tampering", ["edited", "removed", "edited and rekeyed"])
def test_tampering_with_an_ancestors_record_is_detected(tmp_path: Path, stage: str, tampering: str) -> None:
    chain(tmp_path)

    def tamper(content: dict[str, Any]) -> None:
        key = next(key for key, link in content["ancestors"].items() if link["stage"] == stage)
        link = content["ancestors"].pop(key)
        link["settings"]["text"] = "forged"
        if tampering == "edited":
            content["ancestors"][key] = link
        elif tampering == "edited and rekeyed":
            content["ancestors"][Manifest.model_validate(link).id] = link

    edit(tmp_path / "merged", tamper)
    with pytest.raises(ArtefactError, match=f"record of (its|the) {stage} "):
        verify(tmp_path / "merged")


def test_an_adapter_of_another_base_is_rejected(tmp_path: Path) -> None:
    chain(tmp_path)
    make_stage(tmp_path, "base", "another")
    with pytest.raises(ArtefactError, match=r"/adapter were not made from the same base\.\n.*make train"):
        make(tmp_path / "merged", inputs={name: tmp_path / name for name in MADE_FROM["merged"]}, build=fail)


def test_an_artefact_that_does_not_name_its_inputs_is_rejected(tmp_path: Path) -> None:
    chain(tmp_path)
    make(tmp_path / "adapter", inputs={"data": tmp_path / "data"})
    with pytest.raises(ArtefactError, match="does not say from which base it comes"):
        verify(tmp_path / "adapter")


def test_a_damaged_input_is_rejected_before_building(tmp_path: Path) -> None:
    make(tmp_path / "data")
    (tmp_path / "data" / "a.txt").unlink()
    with pytest.raises(ArtefactError, match=r"a\.txt is missing.*\n.*make data"):
        make(tmp_path / "adapter", inputs={"data": tmp_path / "data"}, build=fail)
    assert not (tmp_path / "adapter").exists()


def test_a_missing_input_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"no finished artefact in .*/adapter\.\n.*make train"):
        make(tmp_path / "merged", inputs={"adapter": tmp_path / "adapter"}, build=fail)


def test_a_build_that_raises_publishes_nothing_and_keeps_the_old_artefact(tmp_path: Path) -> None:
    def broken(partial: Path) -> dict[str, Any]:
        (partial / "half.txt").touch()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make(tmp_path / "data", build=broken)
    assert not (tmp_path / "data").exists()
    old, _ = make(tmp_path / "data")
    with pytest.raises(RuntimeError, match="broken"):
        make(tmp_path / "data", "two", build=broken)
    assert verify(tmp_path / "data", full=True) == old
    assert make(tmp_path / "data", "two")[1]
    assert names(tmp_path) == {"data", ".lock"}


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    def full(partial: Path) -> dict[str, Any]:
        (partial / "half.txt").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StageError, match=f"disk of {tmp_path} is full"):
        make(tmp_path / "data", build=full)
    assert not {"data", ".data.partial"} & names(tmp_path)
    with pytest.raises(PermissionError):
        make(tmp_path / "data", build=denied)
    assert make(tmp_path / "data")[1]


def test_a_killed_build_leaves_nothing_accepted_and_the_next_run_finishes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with building(folder):
        pass
    with pytest.raises(ArtefactError, match="no finished artefact"):
        verify(folder)
    old, built = make(folder)
    assert built
    with building(folder, "two"):
        pass
    assert verify(folder, full=True) == old
    assert make(folder, build=fail) == (old, False)
    new, built = make(folder, "two")
    assert built
    assert verify(folder, full=True) == new
    assert names(folder) == {"a.txt", "sub", MANIFEST}
    assert names(tmp_path) == {"data", ".lock"}


def test_the_run_lock_rejects_a_second_process(tmp_path: Path) -> None:
    make(tmp_path / "other" / "data")
    with building(tmp_path / "run" / "data"):
        for stage in ("data", "adapter"):
            with pytest.raises(SignboardError, match="Another stage is working"):
                make(tmp_path / "run" / stage, build=fail)
        assert not make(tmp_path / "other" / "data")[1]  # another run is free
    assert make(tmp_path / "run" / "data")[1]  # the lock went with its process


@pytest.mark.parametrize(
    ("text", "options", "kept"),
    [
        ("one", {"keep_partial": True}, ["half.txt"]),
        ("two", {"keep_partial": True}, []),
        ("one", {"keep_partial": True, "recipe": "other"}, []),
        ("one", {"keep_partial": True, "force": True}, []),
        ("one", {}, []),
    ],
    ids=["same settings", "other settings", "other recipe", "forced", "not wanted"],
)
def test_a_killed_builds_partial_files_are_kept_only_for_the_same_request(
    tmp_path: Path, text: str, options: dict[str, Any], kept: list[str]
) -> None:
    with building(tmp_path / "data", "one"):
        pass
    found: list[str] = []

    def build(partial: Path) -> dict[str, Any]:
        found.extend(names(partial))
        (partial / "half.txt").write_text("whole")
        return {}

    manifest, built = make(tmp_path / "data", text, build=build, **options)
    assert (built, found) == (True, kept)
    assert list(manifest.files) == ["half.txt"]
    assert verify(tmp_path / "data", full=True) == manifest


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_result_that_is_not_finite_publishes_nothing(tmp_path: Path, value: float) -> None:
    with pytest.raises(StageError, match="loss"):
        make(tmp_path / "data", build=lambda _: {"loss": value, "rows": 3})
    assert names(tmp_path) == {".lock", ".data.started"}


def test_a_file_that_this_user_may_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a service's user that was not given the weights; tests may run as root, who may read everything."""
    make(tmp_path / "base")

    def deny(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pipeline.manifest.hash_file", deny)
    with pytest.raises(ArtefactError, match=r"a\.txt cannot be read: Permission denied"):
        verify(tmp_path / "base")

"""Artefacts: folders that are complete or absent, each with a manifest.json that ties it to what it was made from.

A stage builds in a hidden `.NAME.partial` folder, writes the manifest last and renames. A stage whose manifest still
matches its settings and inputs is skipped. A manifest carries its ancestors' manifests, so that a checkpoint copied to
another machine still proves where it comes from.
"""

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from data.errors import ArtefactError, SignboardError, StageError

MANIFEST = "manifest.json"
FORMAT = 3  # raised when a stage's code makes something else of the same settings and inputs: then all is built anew
SMALL = 64 << 20  # bytes; configs, templates, data and adapters are hashed at every check, large shards on demand
END = 1 << 20  # bytes at either end of a large file that are hashed at every check: a swapped shard has another header
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "autoawq", "bitsandbytes")
# What makes each artefact, for the errors.
MADE_BY = {
    "data": "make data",
    "base": "make train",
    "adapter": "make train",
    "dpo": "make train",
    "merged": "make merge",
    "awq": "make merge",
    "gate": "make merge",
    "eval": "make ladder",
}
# What each artefact must have been made from; `base` is made from plain files.
MADE_FROM = {
    "adapter": ("data", "base"),
    "dpo": ("data", "base", "adapter"),
    "merged": ("data", "base", "adapter"),  # and dpo, where that is enabled
    "awq": ("data", "merged"),
    "gate": ("awq",),
    "eval": ("awq",),
}


class FileEntry(BaseModel):
    """One file of an artefact."""

    size: int  # bytes
    sha256: str
    ends: str = ""  # sha256 of the first and last MiB, of large files


class Manifest(BaseModel):
    """What an artefact is and what it was made from. `id` covers everything but the last four fields."""

    model_config = ConfigDict(extra="forbid")

    format: int = 1
    stage: str
    recipe: str
    settings: dict[str, Any]
    inputs: dict[str, str]  # ids of input manifests, sha256 of plain input files
    versions: dict[str, str]
    files: dict[str, FileEntry]
    results: dict[str, Any] = {}  # measurements
    created: str = ""  # UTC
    seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the building process
    ancestors: dict[str, "Manifest"] = {}

    @property
    def id(self) -> str:
        """Content id, sha256 hex."""
        return digest(self.model_dump(include={"format", "stage", "recipe", "settings", "inputs", "versions", "files"}))


def digest(content: Any) -> str:
    """Return the sha256 of a JSON-able value in canonical form."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_ends(path: Path) -> str:
    """Return the sha256 of a file's first and last MiB: quick, and different for any two shards of a checkpoint."""
    with path.open("rb") as file:
        head = file.read(END)
        file.seek(-min(END, path.stat().st_size), os.SEEK_END)
        return hashlib.sha256(head + file.read(END)).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read an artefact's manifest.

    Raises:
        ArtefactError: the artefact is missing or its manifest is broken.
    """
    todo = f"Make it with `{MADE_BY.get(folder.name, 'make demo')}`."
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        stored = content.pop("id")
        manifest = Manifest.model_validate(content)
    except FileNotFoundError as error:
        raise ArtefactError(f"There is no finished artefact in {folder}.", todo) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{folder / MANIFEST} cannot be read.", todo) from error
    if stored != manifest.id:
        raise ArtefactError(
            f"{folder / MANIFEST} was edited, or is another version's: its id does not fit its content.", todo
        )
    return manifest


def verify(folder: Path, *, full: bool = False) -> Manifest:
    """Check an artefact against its manifest and its ancestors.

    Sizes, small files' hashes and large files' ends always; large files' hashes if `full`.

    Raises:
        ArtefactError: with the first thing that does not match.
    """
    manifest = read_manifest(folder)
    todo = f"Make it again with `{MADE_BY.get(folder.name, 'make demo')}`, or copy it again."
    if manifest.stage != folder.name:
        raise ArtefactError(f"{folder} holds a {manifest.stage} artefact.", todo)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(f"{path} is missing.", todo)
        if path.stat().st_size != entry.size:
            raise ArtefactError(f"{path} has {path.stat().st_size} bytes instead of {entry.size}.", todo)
        if not _is_same(path, entry, full=full):
            raise ArtefactError(f"{path} is not the file that was built: its sha256 differs.", todo)
    for name in _files(folder):
        if name not in manifest.files:
            raise ArtefactError(
                f"{folder / name} does not belong to the artefact.", "Remove it, or " + todo[0].lower() + todo[1:]
            )
    _verify_chain(manifest, folder, todo)
    return manifest


def _is_same(path: Path, entry: FileEntry, *, full: bool) -> bool:
    if full or entry.size <= SMALL:
        return hash_file(path) == entry.sha256
    return hash_ends(path) == entry.ends


def run_stage(
    folder: Path,
    *,
    recipe: str,
    settings: dict[str, Any],
    inputs: dict[str, Path],
    build: Callable[[Path], dict[str, Any]],
    force: bool = False,
    keep_partial: bool = False,
    compare: bool = False,
) -> tuple[Manifest, bool]:
    """Build an artefact unless a matching one exists; return its manifest and whether it is new.

    Args:
        folder: where the artefact goes; its name is the stage's.
        recipe: the recipe's name.
        settings: JSON-able settings of this stage: other settings, other artefact.
        inputs: artefact folders or plain files it is made from.
        build: gets an empty folder to fill, returns measurements.
        force: build even if a matching artefact exists.
        keep_partial: give `build` what a killed run with the same settings and inputs left behind.
        compare: build in any case and keep the old artefact if every file comes out the same; for cheap stages,
            whose outcome also depends on our code.

    Raises:
        StageError: the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        ids, ancestors = _resolve(inputs)
        wanted = Manifest(
            format=FORMAT,
            stage=folder.name,
            recipe=recipe,
            settings=settings,
            inputs=ids,
            versions=versions(),
            files={},
            ancestors=ancestors,
        )
        found = None if force else _matching(folder, wanted)
        if found and not compare:
            _discard(_partial(folder))  # of a killed --force
            return found, False
        partial = _prepare(folder, wanted, keep=keep_partial and not force)
        manifest = _built(partial, wanted, build)
        if found and found.files == manifest.files:
            _discard(partial)
            return found, False
        _publish(partial, folder, manifest)
        return manifest, True


def _built(partial: Path, wanted: Manifest, build: Callable[[Path], dict[str, Any]]) -> Manifest:
    start = time.monotonic()
    try:
        results = build(partial)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        shutil.rmtree(partial)
        raise StageError(
            f"The disk of {partial.parent} is full.", "Free some space and run the stage again."
        ) from error
    files = {name: _entry(partial / name) for name in _files(partial)}
    return wanted.model_copy(
        update={
            "files": files,
            "results": results,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - start, 1),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )


def _entry(path: Path) -> FileEntry:
    size = path.stat().st_size
    return FileEntry(size=size, sha256=hash_file(path), ends=hash_ends(path) if size > SMALL else "")


def write_text(path: Path, text: str) -> None:
    """Write a text file and force it to disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _resolve(inputs: dict[str, Path]) -> tuple[dict[str, str], dict[str, Manifest]]:
    ids: dict[str, str] = {}
    ancestors: dict[str, Manifest] = {}
    for name, path in inputs.items():
        if path.is_file():
            ids[name] = hash_file(path)
            continue
        manifest = verify(path)
        ids[name] = manifest.id
        ancestors |= manifest.ancestors | {manifest.id: manifest.model_copy(update={"ancestors": {}})}
    if odd := _ambiguous(ancestors.values()):
        names = ", ".join(map(str, inputs.values()))
        raise ArtefactError(f"{names} were not made from the same {odd}.", f"Make them again with `{MADE_BY[odd]}`.")
    return ids, ancestors


def _ambiguous(ancestors: Iterable[Manifest]) -> str | None:
    """Return a stage that occurs in two versions, such as the base of an adapter and the base it is folded into."""
    stages = Counter(ancestor.stage for ancestor in ancestors)
    return next((stage for stage, count in stages.items() if count > 1), None)


def _matching(folder: Path, wanted: Manifest) -> Manifest | None:
    try:
        found = verify(folder)
    except ArtefactError:
        return None
    return found if found.model_copy(update={"files": {}}).id == wanted.id else None


def _prepare(folder: Path, wanted: Manifest, *, keep: bool) -> Path:
    """Return the folder to build in; a kept one must have been started for the very same artefact."""
    partial = _partial(folder)
    started = partial.with_suffix(".started")
    if not (keep and partial.is_dir() and started.is_file() and started.read_text() == wanted.id):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_text(started, wanted.id)
    return partial


def _publish(partial: Path, folder: Path, manifest: Manifest) -> None:
    content = {"id": manifest.id, **manifest.model_dump(mode="json")}
    write_text(partial / MANIFEST, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    old = folder.parent / f".{folder.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    _discard(partial)


def _partial(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.partial"


def _discard(partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.with_suffix(".started").unlink(missing_ok=True)


def _verify_chain(manifest: Manifest, folder: Path, todo: str) -> None:
    for key, ancestor in manifest.ancestors.items():
        if ancestor.id != key:
            raise ArtefactError(f"{folder / MANIFEST}: the record of its {ancestor.stage} was altered.", todo)
    if odd := _ambiguous((manifest, *manifest.ancestors.values())):
        raise ArtefactError(f"{folder} was made from two versions of the {odd}.", todo)
    for link in (manifest, *manifest.ancestors.values()):
        if lacking := set(MADE_FROM.get(link.stage, ())) - set(link.inputs):
            raise ArtefactError(f"{folder / MANIFEST} does not say from which {sorted(lacking)[0]} it comes.", todo)
        for name, key in link.inputs.items():
            if name in MADE_BY and key not in manifest.ancestors:
                raise ArtefactError(f"{folder / MANIFEST}: the record of the {name} behind it is missing.", todo)


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    """One stage at a time per run; the lock vanishes with the process that holds it."""
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SignboardError(f"Another stage is working in {run}.", "Wait for it, or stop it first.") from error
        yield

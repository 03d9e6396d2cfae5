"""Run a stage: an artefact is complete or absent.

A stage builds in a hidden `.NAME.partial` folder, writes the manifest last and renames the folder. A stage whose
manifest still matches its settings, inputs and format is skipped.
"""

import errno
import json
import logging
import math
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.errors import ArtefactError, SignboardError, StageError
from pipeline.files import write_text
from pipeline.manifest import MANIFEST, FileEntry, Manifest, list_files, resolve_inputs, verify, versions


def run_stage(
    folder: Path,
    *,
    format: int,
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
        folder: the artefact's folder; its name is the stage's.
        format: the stage's own number; raise it when its code makes another artefact from the same settings and inputs.
        recipe: the recipe's name.
        settings: the stage's JSON-able settings; when they change, the artefact is rebuilt.
        inputs: the artefact folders or plain files that the artefact is made from.
        build: fills the empty folder that it gets and returns measurements.
        force: build even if a matching artefact exists.
        keep_partial: give `build` the files that a killed run with the same settings and inputs left behind.
        compare: always build, and keep the old artefact if no file differs; for cheap stages whose result also
            depends on our code.

    Raises:
        StageError: the disk is full.
        ArtefactError: an input is missing or does not verify.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent):
        wanted = _wanted(folder.name, format, recipe, settings, inputs)
        existing = None if force else _matching(folder, wanted)
        if existing and not compare:
            _discard(_partial(folder))  # left by a killed --force
            return existing, False
        partial = _prepare(folder, wanted, keep=keep_partial and not force)
        manifest = _built(partial, wanted, build)
        if existing and existing.files == manifest.files:
            _discard(partial)
            return existing, False
        _publish(partial, folder, manifest)
        return manifest, True


def _wanted(stage: str, format: int, recipe: str, settings: dict[str, Any], inputs: dict[str, Path]) -> Manifest:
    """Return the manifest of an artefact that is not built yet."""
    ids, ancestors = resolve_inputs(inputs)
    return Manifest(
        format=format,
        stage=stage,
        recipe=recipe,
        settings=settings,
        inputs=ids,
        versions=versions(),
        files={},
        ancestors=ancestors,
    )


def _built(partial: Path, wanted: Manifest, build: Callable[[Path], dict[str, Any]]) -> Manifest:
    start = time.monotonic()
    try:
        with _libraries_log(partial.parent / f"{wanted.stage}.log"):
            results = build(partial)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        shutil.rmtree(partial)
        raise StageError(
            f"The disk of {partial.parent} is full.", "Free some space and run the stage again."
        ) from error
    if lost := sorted(key for key, value in results.items() if isinstance(value, float) and not math.isfinite(value)):
        shutil.rmtree(partial)
        raise StageError(
            f"The stage {wanted.stage} measured {', '.join(lost)} as a number that is not finite.",
            "Check its inputs and settings; nothing was published.",
        )
    files = {name: FileEntry.of(partial / name) for name in list_files(partial)}
    return wanted.model_copy(
        update={
            "files": files,
            "results": results,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - start, 1),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts in KiB
        }
    )


def _matching(folder: Path, wanted: Manifest) -> Manifest | None:
    try:
        existing = verify(folder)
    except ArtefactError:
        return None
    return existing if existing.request == wanted.request else None


def _prepare(folder: Path, wanted: Manifest, *, keep: bool) -> Path:
    """Return the folder to build in; keep its old files only if they were written for the same request."""
    partial = _partial(folder)
    started = partial.with_suffix(".started")
    if not (keep and partial.is_dir() and started.is_file() and started.read_text() == wanted.request):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_text(started, wanted.request)
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


@contextmanager
def _libraries_log(path: Path) -> Iterator[None]:
    """Send the warnings of third-party libraries to a file, not to the user: they alarm, and nobody can act on them."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


@contextmanager
def _lock(run: Path) -> Iterator[None]:
    """Allow one stage at a time per run; the lock vanishes with the process that holds it."""
    try:
        with FileLock(run / ".lock", blocking=False):
            yield
    except Timeout as error:
        raise SignboardError(f"Another stage is working in {run}.", "Wait for it, or stop it first.") from error

"""Manifests: an artefact's identity, its inputs, and the checks that nothing has changed.

An artefact is a folder with a manifest.json. A manifest carries its ancestors' manifests, so a checkpoint
that was copied to another machine still proves its origin.
"""

import json
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import ArtefactError
from pipeline.files import digest, hash_ends, hash_file
from pipeline.graph import MADE_BY, MADE_FROM, made_by

MANIFEST = "manifest.json"
SMALL = 64 << 20  # bytes; every check hashes whole files up to this size, and larger ones (weight shards) on demand
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "autoawq", "bitsandbytes")
# Fields that a manifest's id does not cover: build times differ from run to run, and `inputs` already holds the
# ancestors' ids.
UNCOVERED = frozenset({"created", "seconds", "peak_memory", "ancestors"})


class FileEntry(BaseModel):
    """One file of an artefact."""

    size: int  # bytes
    sha256: str
    ends: str = ""  # sha256 of the first and last MiB, of large files

    @classmethod
    def of(cls, path: Path) -> "FileEntry":
        """Return the entry of a file as it is now."""
        size = path.stat().st_size
        return cls(size=size, sha256=hash_file(path), ends=hash_ends(path) if size > SMALL else "")

    def matches(self, path: Path, *, full: bool) -> bool:
        """Return whether a file of this size is unchanged; of a large file, compare only the ends unless `full`."""
        if full or self.size <= SMALL:
            return hash_file(path) == self.sha256
        return hash_ends(path) == self.ends


class Manifest(BaseModel):
    """An artefact's identity and inputs; `id` covers all fields but `UNCOVERED`."""

    model_config = ConfigDict(extra="forbid")

    format: int  # of the stage; raise it when its code makes another artefact from the same settings and inputs
    stage: str
    recipe: str
    settings: dict[str, Any]
    inputs: dict[str, str]  # ids of input manifests, sha256 of plain input files
    versions: dict[str, str]
    files: dict[str, FileEntry]
    results: dict[str, Any] = {}  # measurements, some of which are judged
    created: str = ""  # UTC
    seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the building process
    ancestors: dict[str, "Manifest"] = {}

    @property
    def id(self) -> str:
        """Content id, sha256 hex."""
        return digest(self.model_dump(exclude=set(UNCOVERED)))

    @property
    def request(self) -> str:
        """Id of the request, known before the build: a stage whose request is unchanged is skipped."""
        return self.model_copy(update={"files": {}, "results": {}}).id


def read_manifest(folder: Path) -> Manifest:
    """Read an artefact's manifest.

    Raises:
        ArtefactError: the artefact is missing or its manifest is broken.
    """
    todo = f"Make it with `{made_by(folder.name)}`."
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
            f"{folder / MANIFEST} was edited, or another version wrote it: its id does not match its content.", todo
        )
    return manifest


def verify(folder: Path, *, full: bool = False) -> Manifest:
    """Check an artefact against its manifest and its ancestors; return the manifest.

    Every check compares sizes and the hashes of small files and of large files' ends; `full` hashes large files whole.

    Raises:
        ArtefactError: something does not match; the text names the first mismatch.
    """
    manifest = read_manifest(folder)
    todo = f"Make it again with `{made_by(folder.name)}`, or copy it again."
    if manifest.stage != folder.name:
        raise ArtefactError(f"{folder} holds a {manifest.stage} artefact.", todo)
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(f"{path} is missing.", todo)
        if path.stat().st_size != entry.size:
            raise ArtefactError(f"{path} has {path.stat().st_size} bytes instead of {entry.size}.", todo)
        if not _matches(entry, path, full=full):
            raise ArtefactError(f"{path} is not the file that was built: its sha256 differs.", todo)
    for name in list_files(folder):
        if name not in manifest.files:
            raise ArtefactError(
                f"{folder / name} does not belong to the artefact.", "Remove it, or " + todo[0].lower() + todo[1:]
            )
    _verify_chain(manifest, folder, todo)
    return manifest


def resolve_inputs(inputs: dict[str, Path]) -> tuple[dict[str, str], dict[str, Manifest]]:
    """Return the inputs' ids and the manifests of every artefact behind them, by id.

    Raises:
        ArtefactError: an input does not verify, or two of them were made from different versions of a stage.
    """
    ids: dict[str, str] = {}
    ancestors: dict[str, Manifest] = {}
    for name, path in inputs.items():
        if path.is_file():
            ids[name] = hash_file(path)
            continue
        manifest = verify(path)
        ids[name] = manifest.id
        ancestors |= manifest.ancestors | {manifest.id: manifest.model_copy(update={"ancestors": {}})}
    if stage := _ambiguous_stage(ancestors.values()):
        names = ", ".join(map(str, inputs.values()))
        raise ArtefactError(
            f"{names} were not made from the same {stage}.", f"Make them again with `{made_by(stage)}`."
        )
    return ids, ancestors


def list_files(folder: Path) -> list[str]:
    """Return the files of an artefact, without its manifest, relative to its folder."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    installed = {}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def _matches(entry: FileEntry, path: Path, *, full: bool) -> bool:
    try:
        return entry.matches(path, full=full)
    except OSError as error:  # a service's user, for example, that was not given the weights
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.", "Let this user read it.") from error


def _ambiguous_stage(ancestors: Iterable[Manifest]) -> str | None:
    """Return a stage that occurs in two versions: for example, an adapter is folded into another base than its own."""
    stages = Counter(ancestor.stage for ancestor in ancestors)
    return next((stage for stage, count in stages.items() if count > 1), None)


def _verify_chain(manifest: Manifest, folder: Path, todo: str) -> None:
    for key, ancestor in manifest.ancestors.items():
        if ancestor.id != key:
            raise ArtefactError(f"{folder / MANIFEST}: the record of its {ancestor.stage} was altered.", todo)
    if stage := _ambiguous_stage((manifest, *manifest.ancestors.values())):
        raise ArtefactError(f"{folder} was made from two versions of the {stage}.", todo)
    for link in (manifest, *manifest.ancestors.values()):
        if lacking := set(MADE_FROM.get(link.stage, ())) - set(link.inputs):
            raise ArtefactError(f"{folder / MANIFEST} does not say from which {sorted(lacking)[0]} it comes.", todo)
        for name, key in link.inputs.items():
            if name in MADE_BY and key not in manifest.ancestors:
                raise ArtefactError(f"{folder / MANIFEST}: the record of the {name} behind it is missing.", todo)

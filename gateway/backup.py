"""A backup in one folder: the database, the parks, the settings and, if asked, the checkpoint; and its way back.

```
signboard-20261127T030000Z/
    database             SQLite's file, or pg_dump's custom format
    parks/  env          as they were; env has secrets, so the folder is its owner's only
    checkpoint/          the 4-bit checkpoint with its manifests
    backup.json          written last: versions, and every file's SHA-256
```

Signing keys are not in it: they belong somewhere else than what they sign.
"""

import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from core import __version__
from core.errors import SignboardError
from core.prompt import PROMPT_VERSION
from database.backup import dump, load
from database.database import Database
from database.schema import head, version
from gateway.settings import GatewaySettings

MANIFEST = "backup.json"
PREFIX = "signboard-"


class BackupError(SignboardError):
    """A backup cannot be written, or cannot be restored here."""


class Manifest(BaseModel):
    """What a backup is."""

    made_at: datetime
    signboard: str
    schema_version: str
    prompt_version: int  # that the checkpoint was trained for
    files: dict[str, str]  # path → SHA-256


def back_up(settings: GatewaySettings, folder: Path, env: Path, checkpoint: Path | None, keep: int | None) -> Path:
    """Write a backup into a new folder in `folder` while the gateway runs; return it.

    Args:
        settings: name the database and the parks.
        folder: holds the backups.
        env: the file with the settings; skipped if there is none.
        checkpoint: the folder of the checkpoint; None: not copied.
        keep: how many backups to keep, the oldest are deleted; None: all.

    Raises:
        BackupError: it cannot be written.
        DatabaseError: the database cannot be read.
    """
    now = datetime.now(UTC)
    made = folder / f"{PREFIX}{now:%Y%m%dT%H%M%SZ}"
    partial = folder / f".{made.name}.partial"
    try:
        partial.mkdir(mode=0o700, parents=True)
        _fill(partial, settings, env, checkpoint)
        text = _manifest(partial, settings, now).model_dump_json(indent=2)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        partial.rename(made)
    except OSError as error:
        raise BackupError(f"The backup {made} cannot be written: {error}.", "Check the folder and its disk.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in backups_in(folder)[: -keep if keep else 0]:
        shutil.rmtree(old)
    return made


def restore(settings: GatewaySettings, backup: Path, env: Path) -> Iterator[str]:
    """Restore a backup where nothing is yet; yield what was done, line by line. Files that are there stay as they are.

    Raises:
        BackupError: the backup is damaged, or a newer Signboard made it.
        DatabaseError: there is a database already, or it cannot be made.
    """
    manifest = check(backup)
    load(settings.database, backup / "database")
    Database.open(settings.database).close()  # brings an older schema up to date
    yield f"database: restored, schema {manifest.schema_version} → {head()}"
    for file in sorted((backup / "parks").glob("*")):
        yield _give(file, settings.parks / file.name)
    if (backup / "env").is_file():
        yield _give(backup / "env", env)
        if env.is_file():
            env.chmod(0o600)
    if (backup / "checkpoint").is_dir():
        yield f"checkpoint: copy {backup / 'checkpoint'} to runs/<recipe>/awq; serving verifies it"


def check(backup: Path) -> Manifest:
    """Return what a backup is, if it is whole and this Signboard can restore it.

    Raises:
        BackupError: it is damaged, or a newer Signboard made it.
    """
    try:
        manifest = Manifest.model_validate_json((backup / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BackupError(
            f"{backup} is no backup: {MANIFEST} cannot be read.", "Name the folder signboard-… itself."
        ) from error
    if damaged := sorted(name for name, digest in manifest.files.items() if _digest(backup / name) != digest):
        raise BackupError(f"{backup} is damaged: {', '.join(damaged)}.", "Restore another one.")
    if int(manifest.schema_version) > int(head()):
        raise BackupError(
            f"Signboard {manifest.signboard} made the backup: its schema has version {manifest.schema_version}, this "
            f"one knows {head()}.",
            "Install that Signboard, then restore.",
        )
    if "checkpoint" in {name.split("/")[0] for name in manifest.files} and manifest.prompt_version != PROMPT_VERSION:
        raise BackupError(
            f"The backup's checkpoint was trained for prompt {manifest.prompt_version}, this Signboard asks with "
            f"prompt {PROMPT_VERSION}.",
            f"Install Signboard {manifest.signboard}, or train a checkpoint for this one and restore without the old.",
        )
    return manifest


def backups_in(folder: Path) -> list[Path]:
    """Return a folder's finished backups, the oldest first."""
    return sorted(path for path in folder.glob(f"{PREFIX}*") if (path / MANIFEST).is_file())


def _fill(partial: Path, settings: GatewaySettings, env: Path, checkpoint: Path | None) -> None:
    dump(settings.database, partial / "database")
    if settings.parks.is_dir():
        shutil.copytree(settings.parks, partial / "parks", ignore=lambda _folder, names: {"try"} & set(names))
    if env.is_file():
        shutil.copyfile(env, partial / "env")
    if checkpoint:
        shutil.copytree(checkpoint, partial / "checkpoint")


def _manifest(partial: Path, settings: GatewaySettings, now: datetime) -> Manifest:
    with Database.open(settings.database) as database, database.reading() as connection:
        schema = version(connection) or head()
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    return Manifest(
        made_at=now,
        signboard=__version__,
        schema_version=schema,
        prompt_version=PROMPT_VERSION,
        files={path.relative_to(partial).as_posix(): _digest(path) for path in files},
    )


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def _give(file: Path, place: Path) -> str:
    if place.exists():
        same = place.read_bytes() == file.read_bytes()
        return f"{place}: {'as in the backup' if same else f'differs from {file}: left as it is'}"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)
    return f"{place}: restored"

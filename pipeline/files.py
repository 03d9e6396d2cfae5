"""File helpers for manifests and stages: durable writes and hashes."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

END = 1 << 20  # bytes at either end of a large file: any two shards of a checkpoint differ there


def write_text(path: Path, text: str) -> None:
    """Write a text file and force it to disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def digest(content: Any) -> str:
    """Return the sha256 (hex) of a JSON-able value in canonical form."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_ends(path: Path) -> str:
    """Return the sha256 (hex) of a file's first and last MiB: fast even for a file of many GB."""
    with path.open("rb") as file:
        head = file.read(END)
        file.seek(-min(END, path.stat().st_size), os.SEEK_END)
        return hashlib.sha256(head + file.read(END)).hexdigest()

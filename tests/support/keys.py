"""Keys to sign with, made by openssl as docs/signing.md says."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeyPair:
    """A P-256 key's two files."""

    private: Path
    public: Path


def openssl(*arguments: str | Path) -> None:
    """Run openssl."""
    found = shutil.which("openssl")
    assert found, "openssl is missing: apt-get install openssl"
    subprocess.run([found, *arguments], check=True, capture_output=True)


def new_keys(folder: Path, name: str = "signboard") -> KeyPair:
    """Make a key pair."""
    pair = KeyPair(folder / f"{name}.key", folder / f"{name}.pub")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pair.private)
    openssl("ec", "-in", pair.private, "-pubout", "-out", pair.public)
    return pair

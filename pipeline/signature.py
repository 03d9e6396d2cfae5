"""Signatures of artefacts: who made this checkpoint, proved by a key, without any network (OpenSSF model-signing).

In: an artefact and a private key (P-256, PEM). Out: `<artefact>.sig` beside its folder, a sigstore bundle with the hash
of every file, the manifest included. It lies beside the folder because a manifest names every file of its artefact and
accepts no other: the artefact is the same, signed or not. After a stage is built again the old signature no longer
fits, as it should.

A manifest shows that nothing changed by accident. A signature shows that whoever holds the key signed exactly this.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

from core.errors import SignatureError
from pipeline.manifest import verify


def signature_of(folder: Path) -> Path:
    """Return where an artefact's signature lies."""
    return folder.with_name(f"{folder.name}.sig")


def sign(folder: Path, private_key: Path) -> Path:
    """Verify an artefact in full, and sign it; return the signature's file.

    Raises:
        ArtefactError: the artefact does not verify.
        SignatureError: the key cannot be used, or model-signing is not installed.
    """
    verify(folder, full=True)
    signer = _with_key(_library("signing").Config().use_elliptic_key_signer, private_key=private_key)
    signature = signature_of(folder)
    partial = signature.with_name(f"{signature.name}.partial")
    try:
        signer.sign(folder, partial)
        partial.replace(signature)
    except (OSError, ValueError) as error:
        raise SignatureError(f"{folder} cannot be signed: {error}.", "Check disk and rights, then retry.") from error
    finally:
        partial.unlink(missing_ok=True)
    return signature


def check_signature(folder: Path, public_key: Path) -> None:
    """Check that an artefact is, file by file, what the key's owner signed. It reads and hashes every file.

    Raises:
        SignatureError: there is no signature, it is another key's, or the files are others; or the key cannot be used.
    """
    verifier = _with_key(_library("verifying").Config().use_elliptic_key_verifier, public_key=public_key)
    signature = signature_of(folder)
    if not signature.is_file():
        raise SignatureError(
            f"{folder} has no signature: {signature} is missing.",
            "Copy it from where the checkpoint was made, or sign it there: `python -m merge sign --key KEY`.",
        )
    try:
        verifier.verify(folder, signature)
    except Exception as error:  # whatever the library meets in a file that an attacker may have written
        raise SignatureError(
            f"{folder} is not what the owner of {public_key} signed: {str(error).strip() or type(error).__name__}.",
            "Copy checkpoint and signature again from where they were made; if it stays so, do not serve it.",
        ) from error


def _library(module: str) -> ModuleType:
    """Return a module of model-signing, which takes a second to import."""
    from importlib import import_module

    try:
        return import_module(f"model_signing.{module}")
    except ImportError as error:
        raise SignatureError(
            f"Signatures need model-signing: {error}.", "Install requirements/sign.txt: `make signing`."
        ) from error


def _with_key(use: Any, **key: Path) -> Any:
    (path,) = key.values()
    try:
        return use(**key)
    except Exception as error:  # unreadable, with a password, not a key, a key of another kind
        raise SignatureError(
            f"{path} cannot be used as a key: {error}.",
            "Use a P-256 key in PEM form without a password: `openssl ecparam -name prime256v1 -genkey -noout`.",
        ) from error

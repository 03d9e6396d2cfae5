"""Signatures with real keys: only what the key's owner signed passes, and the artefact stays the same."""

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from core.errors import ArtefactError, SignatureError
from pipeline.manifest import MANIFEST, verify
from pipeline.signature import check_signature, sign, signature_of
from tests.support.keys import KeyPair, new_keys, openssl
from tests.unit.pipeline.test_stage import make


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return new_keys(tmp_path)


@pytest.fixture
def signed(tmp_path: Path, keys: KeyPair) -> Path:
    """Return a signed artefact."""
    make(tmp_path / "base")
    sign(tmp_path / "base", keys.private)
    return tmp_path / "base"


def test_what_was_signed_passes_and_still_verifies(signed: Path, keys: KeyPair) -> None:
    check_signature(signed, keys.public)
    verify(signed, full=True)
    assert signature_of(signed) == signed.parent / "base.sig"
    assert not list(signed.parent.glob("*.partial"))


def test_a_copy_elsewhere_passes(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "base"
    shutil.copytree(signed, copy)
    shutil.copy(signature_of(signed), signature_of(copy))
    check_signature(copy, keys.public)


@pytest.mark.parametrize("name", ["a.txt", "sub/b.txt", MANIFEST])
def test_a_changed_file_is_named(name: str, signed: Path, keys: KeyPair) -> None:
    path = signed / name
    path.write_text(path.read_text() + " ")
    with pytest.raises(SignatureError, match=name):
        check_signature(signed, keys.public)


def test_a_forgery_that_every_manifest_accepts_is_refused(signed: Path, keys: KeyPair) -> None:
    """Manifests alone cannot notice this: the artefact is whole, only somebody else made it."""
    make(signed, "another")
    verify(signed, full=True)
    with pytest.raises(SignatureError, match=r"a\.txt"):
        check_signature(signed, keys.public)


def test_a_file_more_or_less_is_named(signed: Path, keys: KeyPair) -> None:
    (signed / "more.txt").write_text("more")
    with pytest.raises(SignatureError, match=r"more\.txt"):
        check_signature(signed, keys.public)
    (signed / "more.txt").unlink()
    (signed / "a.txt").unlink()
    with pytest.raises(SignatureError, match=r"a\.txt"):
        check_signature(signed, keys.public)


def test_another_keys_signature_is_refused(signed: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match=r"not what the owner of .* signed"):
        check_signature(signed, new_keys(tmp_path, "stranger").public)


def test_a_stranger_cannot_say_that_the_signature_is_the_trusted_keys(
    signed: Path, keys: KeyPair, tmp_path: Path
) -> None:
    """The bundle names its key by a hint, which anyone can write."""
    trusted = json.loads(signature_of(signed).read_text())["verificationMaterial"]
    sign(signed, new_keys(tmp_path, "stranger").private)
    forged = json.loads(signature_of(signed).read_text()) | {"verificationMaterial": trusted}
    signature_of(signed).write_text(json.dumps(forged))
    with pytest.raises(SignatureError, match=r"not what the owner of .* signed"):
        check_signature(signed, keys.public)


def test_a_missing_signature_says_where_it_should_lie(signed: Path, keys: KeyPair) -> None:
    signature_of(signed).unlink()
    with pytest.raises(SignatureError, match=r"has no signature: .*base\.sig is missing"):
        check_signature(signed, keys.public)


@pytest.mark.parametrize("content", ["", "{}", "no JSON", "[1]", '{"mediaType": 5}'])
def test_a_broken_signature_is_refused(content: str, signed: Path, keys: KeyPair) -> None:
    signature_of(signed).write_text(content)
    with pytest.raises(SignatureError):
        check_signature(signed, keys.public)


def test_what_does_not_verify_is_not_signed(tmp_path: Path, keys: KeyPair) -> None:
    make(tmp_path / "base")
    (tmp_path / "base" / "a.txt").write_text("two")
    with pytest.raises(ArtefactError, match="sha256 differs"):
        sign(tmp_path / "base", keys.private)
    assert not signature_of(tmp_path / "base").exists()


def test_an_artefact_that_was_built_again_needs_a_new_signature(signed: Path, keys: KeyPair) -> None:
    make(signed, "two")
    with pytest.raises(SignatureError):
        check_signature(signed, keys.public)
    sign(signed, keys.private)
    check_signature(signed, keys.public)


def test_a_key_that_cannot_be_used_is_named_with_the_kind_that_can(signed: Path, keys: KeyPair, tmp_path: Path) -> None:
    rsa, secret, text = tmp_path / "rsa.key", tmp_path / "secret.key", tmp_path / "text.key"
    openssl("genrsa", "-out", rsa, "2048")
    openssl("ec", "-in", keys.private, "-aes256", "-passout", "pass:park", "-out", secret)
    text.write_text("no key")
    for key in (rsa, secret, text, tmp_path / "nowhere.key"):
        with pytest.raises(SignatureError, match=f"{key.name} cannot be used as a key(.|\n)*P-256"):
            sign(signed, key)
    with pytest.raises(SignatureError, match="cannot be used as a key"):
        check_signature(signed, keys.private)  # the wrong half


def test_signing_and_checking_use_no_network(tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    make(tmp_path / "base")
    sign(tmp_path / "base", keys.private)
    check_signature(tmp_path / "base", keys.public)


def test_without_the_library_the_error_says_how_to_install_it(
    signed: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(SignatureError, match=r"requirements/sign\.txt"):
        check_signature(signed, keys.public)

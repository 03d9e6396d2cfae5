"""API keys: settings and database have only their hashes. A key is 32 random bytes, so a plain SHA-256 is enough."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core.errors import SettingError


class KeyScope(StrEnum):
    """The routes that a key opens."""

    BOARD = "board"  # messages, boards, events, metrics, the page
    OPENAI = "openai"  # /v1/chat/completions and /v1/models
    SENSORS = "sensors"  # what sensors and their platforms send
    SIGN = "sign"  # boards as dots and pictures: all that a player needs, and it can change nothing
    ADMIN = "admin"  # the administrator's page: everything's state, blanking boards and signs, new messages


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's name, scopes and the SHA-256 of its key in hex."""

    name: str
    scopes: frozenset[KeyScope]
    digest: str


OPEN = Key("anyone", frozenset(KeyScope), "")  # where no key is required


class Keyring:
    """The keys that are valid now, those of the settings and those of the database; and when each was used last.

    Args:
        fixed: the keys of the settings; they change only with a restart.
    """

    def __init__(self, fixed: tuple[Key, ...]) -> None:
        self._fixed = fixed
        self._stored: tuple[Key, ...] = ()
        self._had_stored = False
        self._used: dict[str, datetime] = {}

    @property
    def required(self) -> bool:
        """Whether callers need a key. Once the database had one, they do: revoking the last one opens nothing."""
        return bool(self._fixed) or self._had_stored

    def update(self, valid: Iterable[Key], *, had_any: bool) -> None:
        """Take over the keys of the database; `had_any`: it has some, valid or revoked."""
        self._stored = tuple(valid)
        self._had_stored = self._had_stored or had_any

    @property
    def keys(self) -> tuple[Key, ...]:
        """All valid keys."""
        return self._fixed + self._stored

    def find(self, authorization: str) -> Key | None:
        """Return the valid key that an Authorization header carries."""
        return find_key(self.keys, authorization)

    def note_use(self, key: Key) -> None:
        """Remember that a key is used now."""
        self._used[key.name] = datetime.now(UTC)

    def last_use(self, key: Key) -> datetime | None:
        """Return when a key was used last; None: not since the gateway started."""
        return self._used.get(key.name)


def new_key(name: str, scopes: list[KeyScope]) -> tuple[str, str]:
    """Return a fresh key and its line for SIGNBOARD_GATEWAY_KEYS.

    Raises:
        SettingError: the name cannot be used.
    """
    secret = secrets.token_urlsafe(32)
    line = f"{name}:{'+'.join(sorted(set(scopes)))}:{_digest(secret)}"
    parse_keys(line)
    return secret, line


def parse_keys(text: str) -> tuple[Key, ...]:
    """Read `name:scope+scope:sha256`, separated by spaces.

    Raises:
        SettingError: a key has another form, or a name occurs twice.
    """
    keys = tuple(_parse(part) for part in text.split())
    if len({key.name for key in keys}) < len(keys):
        raise SettingError("SIGNBOARD_GATEWAY_KEYS has a name twice.", "Give every key its own name.")
    return keys


def find_key(keys: tuple[Key, ...], authorization: str) -> Key | None:
    """Return the key that an Authorization header carries, as Bearer, or as Basic's password (browsers)."""
    given = _digest(_secret(authorization))
    found = None
    for key in keys:  # compare all of them, each in constant time
        if hmac.compare_digest(key.digest, given):
            found = key
    return found


def _parse(part: str) -> Key:
    match = re.fullmatch(r"([A-Za-z0-9_-]{1,40}):([a-z+]+):([0-9a-f]{64})", part)
    scopes = match[2].split("+") if match else []
    if not match or not set(scopes) <= set(KeyScope):
        raise SettingError(
            f"{part[:20]!r}… is not a valid key for SIGNBOARD_GATEWAY_KEYS.",
            "Write name:board+openai:sha256; `python -m gateway key NAME` prints such a line.",
        )
    return Key(match[1], frozenset(map(KeyScope, scopes)), match[3])


def _secret(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
    return ""


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()

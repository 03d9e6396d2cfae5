"""API keys in the database: names, scopes and hashes, never a key. A revoked one stays there as revoked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, String, Table, select, update

from core.errors import SettingError
from database.database import Database
from database.schema import METADATA, UtcTime
from gateway.audit import Entry, What, note
from gateway.keys import Key, parse_keys

KEYS = Table(
    "keys",
    METADATA,
    Column("name", String, primary_key=True),
    Column("scopes", String, nullable=False),  # with +
    Column("digest", String, nullable=False),  # SHA-256 in hex
    Column("added_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in the database; `revoked_at` None: it is valid."""

    key: Key
    added_at: datetime
    revoked_at: datetime | None


class KeyStore:
    """The keys of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[StoredKey]:
        """Return all keys by name, revoked ones too.

        Raises:
            DatabaseError: they could not be read.
        """
        with self._database.reading() as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.name)).all()
        lines = (f"{row.name}:{row.scopes}:{row.digest}" for row in rows)
        return [
            StoredKey(parse_keys(line)[0], row.added_at, row.revoked_at) for line, row in zip(lines, rows, strict=True)
        ]

    def add(self, line: str, fixed: Sequence[Key], who: str, now: datetime) -> None:
        """Store a key's line, as `new_key` makes it. A revoked key's name may be given again.

        Args:
            line: name, scopes and hash.
            fixed: the keys of the settings, whose names are taken.
            who: adds it, for the audit log.
            now: the wall clock.

        Raises:
            SettingError: the name is taken.
            DatabaseError: it could not be written.
        """
        key = parse_keys(line)[0]
        if key.name in {one.name for one in fixed}:
            raise SettingError(f"SIGNBOARD_GATEWAY_KEYS has a key {key.name}.", "Give this one another name.")
        row = {"scopes": "+".join(sorted(key.scopes)), "digest": key.digest, "added_at": now, "revoked_at": None}
        new = self._database.insert(KEYS).values(name=key.name, **row)
        put = new.on_conflict_do_update(index_elements=[KEYS.c.name], set_=row, where=KEYS.c.revoked_at.is_not(None))
        with self._database.writing() as connection:
            if connection.execute(put.returning(KEYS.c.name)).first() is None:
                raise SettingError(f"There is a key {key.name} already.", "Revoke it first, or use another name.")
            note(connection, Entry(now, who, What.KEY_ADDED, key.name, "+".join(sorted(key.scopes))))

    def revoke(self, name: str, who: str, now: datetime) -> None:
        """Make a key invalid: every gateway refuses it within seconds.

        Raises:
            SettingError: there is no such key, or it is revoked already.
            DatabaseError: it could not be written.
        """
        valid = (KEYS.c.name == name, KEYS.c.revoked_at.is_(None))
        with self._database.writing() as connection:
            if not connection.execute(update(KEYS).where(*valid).values(revoked_at=now)).rowcount:
                raise SettingError(
                    f"The database has no valid key {name}.",
                    "`python -m gateway keys` lists them. A key of SIGNBOARD_GATEWAY_KEYS: remove it there, restart.",
                )
            note(connection, Entry(now, who, What.KEY_REVOKED, name))

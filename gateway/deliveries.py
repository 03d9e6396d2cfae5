"""What signs confirmed, in the database: since when a sign is silent must not begin anew with each restart.

Only times are kept. What a sign shows is unknown after a restart until it confirms something.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, String, Table, select

from core.errors import SignboardError
from database.database import Database
from database.schema import METADATA, UtcTime
from gateway.log import LOG

WRITE_SECONDS = 30.0  # between two writes: signs confirm every few seconds, and a restart may lose so much

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("sign", String, primary_key=True),
    Column("sent_at", UtcTime),
    Column("confirmed_at", UtcTime),
    Column("failed_since", UtcTime),
)


@dataclass(frozen=True, slots=True)
class Times:
    """When something was sent to a sign, when it confirmed something, and since when it has not; by the wall clock."""

    sent_at: datetime | None = None
    confirmed_at: datetime | None = None
    failed_since: datetime | None = None

    def known(self, now: datetime) -> "Times":
        """Return them without those that lie in the future: a clock was wrong."""
        kept = (when if when and when <= now else None for when in (self.sent_at, self.confirmed_at, self.failed_since))
        return Times(*kept)


class DeliveryStore:
    """The times of a database, by sign."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[str, Times]:
        """Return the times of all signs.

        Raises:
            DatabaseError: they could not be read.
        """
        with self._database.reading() as connection:
            rows = connection.execute(select(DELIVERIES)).all()
        return {row.sign: Times(row.sent_at, row.confirmed_at, row.failed_since) for row in rows}

    def write(self, times: dict[str, Times]) -> None:
        """Replace the times of some signs.

        Raises:
            DatabaseError: they could not be written.
        """
        with self._database.writing() as connection:
            for sign, one in sorted(times.items()):
                row = {"sent_at": one.sent_at, "confirmed_at": one.confirmed_at, "failed_since": one.failed_since}
                new = self._database.insert(DELIVERIES).values(sign=sign, **row)
                connection.execute(new.on_conflict_do_update(index_elements=[DELIVERIES.c.sign], set_=row))


class DeliveryKeeper:
    """Writes the times of all signs now and then.

    Args:
        store: where they are kept.
        read: returns them as they are.
    """

    def __init__(self, store: DeliveryStore, read: Callable[[], dict[str, Times]]) -> None:
        self._store = store
        self._read = read
        self._written: dict[str, Times] = {}

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write the times that changed; if the database is down, the next call does it."""
        times = self._read()
        changed = {sign: one for sign, one in times.items() if one != self._written.get(sign)}
        try:
            if changed:
                await asyncio.to_thread(self._store.write, changed)
        except SignboardError as error:
            LOG.warning("what signs confirmed could not be stored", extra={"why": error.what})
            return
        self._written |= changed

"""The observations in the database.

In: `Checked` observations. Out: the same, by sensor and time. What `add` and `add_many` return is on the disk; one
transaction for many observations keeps that cheap.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    delete,
    func,
    insert,
    select,
)

from database.database import Database
from database.schema import METADATA, UtcTime
from sensors.observation import Observation
from sensors.quality import Checked, Flag, Reason

OBSERVATIONS = Table(
    "observations",
    METADATA,
    Column("sensor", String, nullable=False),
    Column("key", String, nullable=False),
    Column("measured_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("timed", Boolean, nullable=False),
    Column("value", Double),  # °C; SQLite keeps NaN as NULL
    Column("flag", String, nullable=False),
    Column("reasons", String, nullable=False),  # with commas
    Column("deviation", Double),  # °C from the park's other sensors
    PrimaryKeyConstraint("sensor", "key", name="pk_observations"),
    Index("ix_observations_sensor_measured_at", "sensor", "measured_at"),
)
# What a persistent session at a broker is subscribed to: the broker remembers it, and tells nobody.
SUBSCRIPTIONS = Table(
    "subscriptions",
    METADATA,
    Column("session", String, nullable=False),
    Column("topic", String, nullable=False),
    PrimaryKeyConstraint("session", "topic", name="pk_subscriptions"),
)


class SensorStore:
    """Observations on the disk.

    ```
    with SensorStore.open("sqlite:////var/lib/signboard/signboard.db") as store:
        store.add(checked)
        store.between("lake-1", yesterday, now)
    ```
    Threads may share one store.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @classmethod
    def open(cls, url: str) -> "SensorStore":
        """Open a database for its observations alone.

        Raises:
            DatabaseError: see `Database.open`.
        """
        return cls(Database.open(url))

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def __enter__(self) -> "SensorStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, checked: Checked) -> bool:
        """Keep one observation; return whether it is new. When this returns, it is on the disk.

        Raises:
            DatabaseError: it could not be written.
        """
        return self.add_many([checked])[0]

    def add_many(self, checked: Sequence[Checked]) -> list[bool]:
        """Keep many observations in one transaction, all or none; return for each whether its key is new.

        Raises:
            DatabaseError: they could not be written; none of them was.
        """
        if not checked:
            return []
        with self.database.writing() as connection:
            kept = self.database.insert(OBSERVATIONS).on_conflict_do_nothing()
            kept = kept.returning(OBSERVATIONS.c.sensor, OBSERVATIONS.c.key)
            new = {tuple(row) for row in connection.execute(kept, [_row(one) for one in checked])}
        return [_take(new, (one.observation.sensor, one.observation.key)) for one in checked]

    def between(self, sensor: str, start: datetime, end: datetime) -> list[Checked]:
        """Return what a sensor measured from `start` to before `end`, in the order of measurement.

        Raises:
            DatabaseError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(OBSERVATIONS)
            .where(table.sensor == sensor, table.measured_at >= start, table.measured_at < end)
            .order_by(table.measured_at, table.received_at)
        )
        with self.database.reading() as connection:
            return [_checked(row) for row in connection.execute(query)]

    def latest(self, sensor: str, *, good: bool = False) -> Checked | None:
        """Return the observation that was measured last, or the last good one; None if there is none.

        One that claims to be from the future is none: a clock that was once ahead would hide all others.

        Raises:
            DatabaseError: it could not be read.
        """
        table = OBSERVATIONS.c
        in_time = table.reasons.not_like(f"%{Reason.FUTURE}%")
        query = select(OBSERVATIONS).where(table.sensor == sensor, in_time).order_by(table.measured_at.desc()).limit(1)
        if good:
            query = query.where(table.flag == Flag.GOOD)
        with self.database.reading() as connection:
            row = connection.execute(query).first()
        return _checked(row) if row else None

    def flags_since(self, sensors: Sequence[str], since: datetime) -> dict[str, dict[Flag, int]]:
        """Return how many observations of each sensor, measured since a time, have which flag; only those with some.

        Raises:
            DatabaseError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(table.sensor, table.flag, func.count())
            .where(table.sensor.in_(sensors), table.measured_at >= since)
            .group_by(table.sensor, table.flag)
        )
        found: dict[str, dict[Flag, int]] = {}
        with self.database.reading() as connection:
            for sensor, flag, count in connection.execute(query):
                found.setdefault(sensor, {})[Flag(flag)] = count
        return found

    def last_good(self, sensor: str, count: int) -> list[float]:
        """Return the values of a sensor's last good observations, the oldest first.

        Raises:
            DatabaseError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(table.value)
            .where(table.sensor == sensor, table.flag == Flag.GOOD)
            .order_by(table.measured_at.desc())
            .limit(count)
        )
        with self.database.reading() as connection:
            return list(connection.scalars(query))[::-1]

    def sensors(self) -> list[str]:
        """Return the names of all sensors that have observations.

        Raises:
            DatabaseError: it could not be read.
        """
        names: list[str] = []
        column = OBSERVATIONS.c.sensor
        with self.database.reading() as connection:  # one look into the index for each
            while name := connection.scalar(select(func.min(column)).where(column > (names[-1] if names else ""))):
                names.append(name)
        return names

    def subscriptions(self, session: str) -> set[str]:
        """Return the topics that a session at a broker is known to have subscribed to.

        Raises:
            DatabaseError: it could not be read.
        """
        query = select(SUBSCRIPTIONS.c.topic).where(SUBSCRIPTIONS.c.session == session)
        with self.database.reading() as connection:
            return set(connection.scalars(query))

    def keep_subscriptions(self, session: str, topics: set[str]) -> None:
        """Replace the topics that a session has subscribed to.

        Raises:
            DatabaseError: it could not be written.
        """
        with self.database.writing() as connection:
            connection.execute(delete(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.session == session))
            if topics:
                connection.execute(insert(SUBSCRIPTIONS), [{"session": session, "topic": one} for one in topics])

    def prune(self, older_than: datetime) -> int:
        """Delete what was measured before a time; return how many observations that were.

        Each sensor is a transaction of its own, so that new observations need not wait for all of them.

        Raises:
            DatabaseError: it could not be written.
        """
        deleted = 0
        table = OBSERVATIONS.c
        for sensor in self.sensors():
            old = delete(OBSERVATIONS).where(table.sensor == sensor, table.measured_at < older_than)
            with self.database.writing() as connection:
                deleted += connection.execute(old).rowcount
        return deleted


def _take(keys: set[Any], key: tuple[str, str]) -> bool:
    """Return whether a key is there, and remove it: of two equal ones in one call the first is new."""
    there = key in keys
    keys.discard(key)
    return there


def _row(checked: Checked) -> dict[str, Any]:
    observation = checked.observation
    return {
        "sensor": observation.sensor,
        "key": observation.key,
        "measured_at": observation.measured_at,
        "received_at": observation.received_at,
        "timed": observation.timed,
        "value": observation.value,
        "flag": checked.flag,
        "reasons": ",".join(checked.reasons),
        "deviation": checked.deviation,
    }


def _checked(row: Row[Any]) -> Checked:
    value = math.nan if row.value is None else row.value
    observation = Observation(row.sensor, value, row.measured_at, row.received_at, row.key, row.timed)
    reasons = tuple(Reason(reason) for reason in row.reasons.split(",") if reason)
    return Checked(observation, Flag(row.flag), reasons, row.deviation)

"""The boards in the database: each board's last message, and the ones before it.

In: messages to keep. Out: for each the message that its board has now. The database compares and sets, so the youngest
measurement wins whichever gateway wrote it; see `Placed.beats` for the rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    Row,
    String,
    Table,
    delete,
    or_,
    select,
    text,
)

from core.sign import Sign
from database.database import Database
from database.schema import METADATA, UtcTime
from gateway.audit import Entry, What, note
from gateway.placed import CLOCKS_DIFFER, Placed, Shown
from gateway.settings import HISTORY

CHANNEL = "signboard_boards"  # on which PostgreSQL tells other gateways of a board that changed
BOARDS = Table(
    "boards",
    METADATA,
    Column("board", String, primary_key=True),
    Column("id", String, nullable=False),
    Column("measured_at", UtcTime, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    Column("blank_at", UtcTime, nullable=False),
    Column("boot", String, nullable=False),  # of the machine, for which the next two count
    Column("shown_at", Double, nullable=False),  # monotonic seconds
    Column("stale_at", Double, nullable=False),
    Column("sign", String, nullable=False),
    Column("timezone", String, nullable=False),
    Column("message", String, nullable=False),  # JSON, as the API has it
)
MESSAGES = Table(
    "board_messages",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("board", String, nullable=False),
    Column("message", String, nullable=False),
    Index("ix_board_messages_board_number", "board", "number"),
)


@dataclass(frozen=True, slots=True)
class Drop:
    """A board to forget, and the key that wants it; empty: the limit of boards."""

    board: str
    who: str = ""


class BoardStore:
    """The boards of a database.

    Args:
        database: open.
        now: the wall clock.
    """

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def write(self, changes: Sequence[Placed | Drop]) -> list[Placed | None]:
        """Keep messages and forget boards in one transaction; return for each the message that its board has now.

        Raises:
            DatabaseError: they could not be written; none of them was.
        """
        # Ordered by board: two gateways that lock the same boards in different orders would wait for each other.
        order = sorted(range(len(changes)), key=lambda index: changes[index].board)
        found: dict[int, Placed | None] = {}
        with self._database.writing() as connection:
            for index in order:
                found[index] = self._change(connection, changes[index])
        return [found[index] for index in range(len(changes))]

    def load(self, limit: int) -> list[Placed]:
        """Return the messages of the boards whose message was written last, the last one first.

        Raises:
            DatabaseError: they could not be read.
        """
        query = select(BOARDS).order_by(BOARDS.c.written_at.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_placed(row) for row in connection.execute(query)]

    def one(self, board: str) -> Placed | None:
        """Return the message that a board has; None: the database knows no such board.

        Raises:
            DatabaseError: it could not be read.
        """
        with self._database.reading() as connection:
            row = connection.execute(select(BOARDS).where(BOARDS.c.board == board)).first()
            return _placed(row) if row else None

    def history(self, board: str) -> list[Shown]:
        """Return the messages that a board had, newest first.

        Raises:
            DatabaseError: they could not be read.
        """
        query = select(MESSAGES.c.message).where(MESSAGES.c.board == board).order_by(MESSAGES.c.number.desc())
        with self._database.reading() as connection:
            return [Shown.model_validate_json(message) for message in connection.scalars(query.limit(HISTORY))]

    def _change(self, connection: Connection, change: Placed | Drop) -> Placed | None:
        if isinstance(change, Placed):
            return self._put(connection, change)
        self._drop(connection, change)
        return None

    def _put(self, connection: Connection, placed: Placed) -> Placed:
        new = self._database.insert(BOARDS).values(_row(placed))
        is_younger = or_(
            BOARDS.c.measured_at <= new.excluded.measured_at,
            BOARDS.c.measured_at > self._now() + CLOCKS_DIFFER,
            BOARDS.c.written_at > self._now() + CLOCKS_DIFFER,
        )
        put = new.on_conflict_do_update(index_elements=[BOARDS.c.board], set_=_row(placed), where=is_younger)
        if connection.execute(put.returning(BOARDS.c.board)).first() is None:
            return _placed(connection.execute(select(BOARDS).where(BOARDS.c.board == placed.board)).one())
        is_new = self._remember(connection, placed)
        # A message that gets other limits is read again by all, though they have one of this id.
        self._tell(connection, placed.board, placed.id if is_new else "")
        return placed

    def _remember(self, connection: Connection, placed: Placed) -> bool:
        """Add a message to its board's history; return whether it is new there."""
        kept = (
            self._database.insert(MESSAGES)
            .values(history_row(placed))
            .on_conflict_do_nothing()
            .returning(MESSAGES.c.number)
        )
        if connection.execute(kept).first() is None:
            return False
        ours = MESSAGES.c.board == placed.board
        last = select(MESSAGES.c.number).where(ours).order_by(MESSAGES.c.number.desc()).offset(HISTORY).limit(1)
        connection.execute(delete(MESSAGES).where(ours, MESSAGES.c.number <= last.scalar_subquery()))
        if placed.who:
            shown = placed.shown
            detail = f"{shown.yesterday_temp} → {shown.today_temp} °C"
            note(connection, Entry(shown.written_at, placed.who, What.READING_SHOWN, placed.board, detail))
        return True

    def _drop(self, connection: Connection, drop: Drop) -> None:
        for table in (BOARDS, MESSAGES):
            connection.execute(delete(table).where(table.c.board == drop.board))
        if drop.who:
            note(connection, Entry(self._now(), drop.who, What.BOARD_FORGOTTEN, drop.board))
        self._tell(connection, drop.board, "")

    def _tell(self, connection: Connection, board: str, id_: str) -> None:
        """Tell the other gateways which board changed, once this transaction is committed."""
        if self._database.is_postgresql:
            told = {"channel": CHANNEL, "told": f"{id_}:{board}"}
            connection.execute(text("SELECT pg_notify(:channel, :told)"), told)


def history_row(placed: Placed) -> dict[str, str]:
    """Return a message's row of `MESSAGES`."""
    return {"id": placed.id, "board": placed.board, "message": placed.shown.model_dump_json()}


def _row(placed: Placed) -> dict[str, Any]:
    return {
        "board": placed.board,
        "id": placed.id,
        "measured_at": placed.measured_at,
        "written_at": placed.shown.written_at,
        "blank_at": placed.blank_at,
        "boot": placed.boot,
        "shown_at": placed.shown_at,
        "stale_at": placed.stale_at,
        "sign": str(placed.sign),
        "timezone": placed.timezone,
        "message": placed.shown.model_dump_json(),
    }


def _placed(row: Row[Any]) -> Placed:
    return Placed(
        id=row.id,
        board=row.board,
        shown=Shown.model_validate_json(row.message),
        measured_at=row.measured_at,
        blank_at=row.blank_at,
        sign=Sign.parse(row.sign),
        timezone=row.timezone,
        boot=row.boot,
        shown_at=row.shown_at,
        stale_at=row.stale_at,
    )

"""The overview for the administrator's page: one answer with everything, built from what the gateway's parts say.

In: a look of the watch, boards, sensors, signs, parks, keys. Out: `OverviewOut`. No secret and no whole hash is in it.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from core import __version__
from core.errors import ServiceError
from core.prompt import PROMPT_VERSION
from database.faults import DatabaseError
from database.schema import head
from gateway.admin.runbook import InBoth, read_runbook
from gateway.admin.watch import Known, Look, Parts, Watch
from gateway.api import ParkOut
from gateway.boards import Boards, BoardView
from gateway.keys import Key, Keyring, KeyScope
from gateway.log import LOG
from gateway.parks import Parks, today_in
from gateway.passthrough import Passthrough
from gateway.sensor_routes import SensorOut
from gateway.settings import GatewaySettings
from gateway.sign_routes import SignOut
from sensors.quality import Flag

KEPT_SECONDS = 60.0  # for which slow answers are kept: those of the store and of vLLM's list of models
DIGITS = 8  # of a key's hash, enough to find its line in the settings


class WhyBlank(StrEnum):
    """Why a board shows nothing."""

    BLANKED = "blanked"  # an administrator keeps it blank
    MODEL_DOWN = "model_down"
    NO_READING = "no_reading"  # `no_reading` has the reason
    FAILED = "failed"  # the last look at its park's sensors failed
    NEVER = "never"  # it had no message since the gateway started
    STALE = "stale"  # its last message was too old, or of another day


class FaultOut(BaseModel):
    """Something that is wrong now."""

    code: str = Field(description="The alert's name in the runbook, or one of docs/admin.md.")
    subject: str = Field(description="The board, park, sensor, sign or file that it concerns; empty: the gateway.")
    urgent: bool = Field(description="Its alert calls somebody at night.")
    since: datetime = Field(description="Since when the gateway knows it.")
    detail: str
    means: InBoth | None = Field(description="The runbook's line; null: the docs are not installed.")
    todo: InBoth | None = Field(description="The runbook's line on what to do.")
    docs: str = Field(description="The page and its entry.")


class AdminBoard(BaseModel):
    """A board."""

    board: str
    parks: list[str] = Field(description="The parks whose sensors it follows or whose signs show it.")
    follows_sensors: bool
    message: str | None
    readings: tuple[int, int] | None = Field(description="Yesterday and today, °C.")
    age: float | None = Field(description="Seconds since the message was written.")
    blank_at: datetime | None
    blanked_until: datetime | None
    why_blank: WhyBlank | None
    why_detail: str


class AdminSensor(SensorOut):
    """A sensor."""

    unused_today: float | None = Field(
        description="The share of today's observations that are not good, 0…1; null: there is none, or no store."
    )


class AdminPark(ParkOut):
    """A park."""

    board: str | None = Field(description="The board that follows its sensors.")
    sensors: int
    signs: list[str]
    changed: bool = Field(description="Its file changed since the gateway started; a restart reads it.")


class AdminKey(BaseModel):
    """A key."""

    name: str
    scopes: list[KeyScope]
    hash_begins: str = Field(description="The first digits of its hash.")
    last_used: datetime | None = Field(description="Since the gateway started.")


class VersionsOut(BaseModel):
    """What runs."""

    code: str
    prompt: int
    fingerprint: str | None = Field(description="Of the prompt that the model was trained on; null: no answer.")
    model: str
    checkpoint: str | None = Field(description="The folder that vLLM says it serves; null: it says none.")
    database_schema: str = Field(description="The version of the database's schema.")


class OverviewOut(BaseModel):
    """Everything that the administrator's page shows."""

    looked_at: datetime
    started_at: datetime
    faults: list[FaultOut]
    boards: list[AdminBoard]
    sensors: list[AdminSensor]
    signs: list[SignOut]
    parks: list[AdminPark]
    keys: list[AdminKey] = Field(description="Empty: no key is needed.")
    versions: VersionsOut


@dataclass
class Slow:
    """What is asked for at most once a minute."""

    at: float = float("-inf")  # monotonic seconds
    unused: dict[str, float] | None = None
    checkpoint: str | None = None


class Overview:
    """Builds the overview.

    Args:
        settings: the gateway's.
        parks: the parks by their file names.
        boards: all boards.
        parts: the running parts.
        watch: knows what is wrong.
        passthrough: asks vLLM what it serves.
        keyring: the valid keys, and when they were used.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        parks: Parks,
        boards: Boards,
        parts: Parts,
        watch: Watch,
        passthrough: Passthrough,
        keyring: Keyring,
    ) -> None:
        self._settings = settings
        self._parks = parks
        self._boards = boards
        self._parts = parts
        self._watch = watch
        self._passthrough = passthrough
        self._keyring = keyring
        self._runbook = read_runbook()
        self._schema = head()  # opening the database brought it there
        self._started_at = datetime.now(UTC)
        self._slow = Slow()

    async def now(self) -> OverviewOut:
        """Look, and return everything."""
        look = await self._watch.look()
        await self._refresh(look)
        return OverviewOut(
            looked_at=look.at,
            started_at=self._started_at,
            faults=[self._fault(known) for known in look.faults],
            boards=[self._board(name, look) for name in self.board_names()],
            sensors=list(self._sensors()),
            signs=[SignOut.of(keeper) for keeper in self._parts.signs.keepers.values()],
            parks=list(self._all_parks(look)),
            keys=[self._key(key) for key in self._keyring.keys],
            versions=VersionsOut(
                code=__version__,
                prompt=PROMPT_VERSION,
                fingerprint=look.fingerprint,
                model=self._settings.model_name,
                checkpoint=self._slow.checkpoint,
                database_schema=self._schema,
            ),
        )

    def board_names(self) -> list[str]:
        """Return the boards that are in memory, that follow sensors, or that a sign shows."""
        followed = self._followed().keys()
        shown = {keeper.sign.board for keeper in self._parts.signs.keepers.values()}
        return sorted({*self._boards.names(), *followed, *shown})

    def park_of(self, board: str) -> str | None:
        """Return the park whose sensors a board follows."""
        return self._followed().get(board)

    def _followed(self) -> dict[str, str]:
        station = self._parts.station
        return {park.board: name for name, park in station.parks.items()} if station else {}

    def _fault(self, known: Known) -> FaultOut:
        fault, entry = known.fault, self._runbook.get(known.fault.code)
        return FaultOut(
            code=fault.code,
            subject=fault.subject,
            urgent=known.urgent,
            since=known.since,
            detail=fault.detail,
            means=entry.means if entry else None,
            todo=entry.todo if entry else None,
            docs=f"{entry.page if entry else 'docs/runbook.md'}#{fault.code.lower()}",
        )

    def _board(self, name: str, look: Look) -> AdminBoard:
        view = self._boards.view_of(name)
        message, park = view.message, self.park_of(name)
        shown_by = {keeper.sign.park for keeper in self._parts.signs.keepers.values() if keeper.sign.board == name}
        why, detail = (None, "") if message else self._why_blank(view, park, look)
        return AdminBoard(
            board=name,
            parks=sorted({*shown_by, *([park] if park else [])}),
            follows_sensors=park is not None,
            message=message.generated_text if message else None,
            readings=(message.yesterday_temp, message.today_temp) if message else None,
            age=view.age,
            blank_at=view.blank_at,
            blanked_until=view.blanked_until,
            why_blank=why,
            why_detail=detail,
        )

    def _why_blank(self, view: BoardView, park: str | None, look: Look) -> tuple[WhyBlank, str]:
        failed = self._parts.follower.failures.get(park or "") if self._parts.follower else None
        if view.blanked_until:
            return WhyBlank.BLANKED, ""
        if view.no_reading:
            return WhyBlank.NO_READING, view.no_reading
        if look.fingerprint is None:
            return WhyBlank.MODEL_DOWN, ""
        if failed:
            return WhyBlank.FAILED, failed
        return (WhyBlank.STALE if self._boards.had_message(view.board) else WhyBlank.NEVER), ""

    def _sensors(self) -> Iterator[AdminSensor]:
        station, unused = self._parts.station, self._slow.unused or {}
        if station is None:
            return
        for name in station.sensors:
            state = station.state(name)
            told = SensorOut.of(state, station.parks[state.park])
            yield AdminSensor(**told.model_dump(), unused_today=unused.get(name))

    def _all_parks(self, look: Look) -> Iterator[AdminPark]:
        changed = {known.fault.subject for known in look.faults if known.fault.code == "ParkFileChanged"}
        station = self._parts.station
        for name, park in self._parks.all().items():
            told, followed = park.scene(today_in(park)), station.parks.get(name) if station else None
            yield AdminPark(
                park=name,
                name=park.name,
                season=told.season,
                elements=list(told.elements),
                sign=str(park.sign),
                timezone=park.timezone,
                board=followed.board if followed else None,
                sensors=len(followed.sensors) if followed else 0,
                signs=[keeper.sign.name for keeper in self._parts.signs.keepers.values() if keeper.sign.park == name],
                changed=f"{name}.yaml" in changed,
            )

    def _key(self, key: Key) -> AdminKey:
        return AdminKey(
            name=key.name,
            scopes=sorted(key.scopes),
            hash_begins=key.digest[:DIGITS],
            last_used=self._keyring.last_use(key),
        )

    async def _refresh(self, look: Look) -> None:
        if time.monotonic() - self._slow.at < KEPT_SECONDS:
            return
        slow = Slow(time.monotonic())
        try:
            slow.unused = await asyncio.to_thread(self._of_the_store)
        except DatabaseError as error:
            LOG.warning("the store could not be read for the overview", extra={"why": error.what})
        if look.fingerprint is not None:
            slow.checkpoint = await self._checkpoint()
        else:
            slow.at = float("-inf")  # the checkpoint is asked for as soon as the model is back
        self._slow = slow

    async def _checkpoint(self) -> str | None:
        try:
            return await self._passthrough.served(self._settings.model_name)
        except (ServiceError, ValueError, AttributeError):  # not there, or not the list that vLLM sends
            return None

    def _of_the_store(self) -> dict[str, float] | None:
        """Return each sensor's share of today's observations that are not good."""
        station = self._parts.station
        if station is None:
            return None
        shares: dict[str, float] = {}
        for park in station.parks.values():
            midnight = datetime.now(ZoneInfo(park.timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
            flags = station.store.flags_since([one.id for one in park.sensors], midnight.astimezone(UTC))
            for sensor, counts in flags.items():
                shares[sensor] = 1 - counts.get(Flag.GOOD, 0) / sum(counts.values())
        return shares

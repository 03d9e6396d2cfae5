"""The sensors' routes: what sensors and platforms send, and what people look at.

They wait for the disk in threads, never in the event loop.
"""

import asyncio
import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, TypeAdapter

from gateway.problems import ProblemError, documented
from sensors.adapters.found import Reject
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Checked, Flag, Reason
from sensors.source import Delivery
from sensors.station import SensorState, Station, Taken

ROWS = 50_000  # observations in one answer, about
SHOWN = timedelta(hours=48)  # of observations, if nobody says from when
ONEM2M = "onem2m"  # the adapter that has an address of its own
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
RECEIVED = {"X-M2M-RSC": "2000"}  # oneM2M's OK
RETURNED = ("X-M2M-RI", "X-M2M-RVI")  # the sender's id of its notification, and its release of the standard


def _only_a_date_and_time(value: Any) -> Any:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", value):
        raise ValueError("write the time as 2026-11-26T10:00:00+09:00 (%2B for + in an address)")
    return value


# As text only: pydantic takes a number for seconds since 1970.
Moment = Annotated[AwareDatetime, BeforeValidator(_only_a_date_and_time)]


class ObservationOut(BaseModel):
    """One observation with its flag."""

    measured_at: datetime
    received_at: datetime
    value: float = Field(description="°C.")
    flag: Flag
    reasons: list[Reason]
    deviation: float | None = Field(description="°C from the median of the park's other sensors.")

    @classmethod
    def of(cls, checked: Checked) -> "ObservationOut":
        """Return a checked observation as it is sent."""
        one = checked.observation
        return cls(
            measured_at=one.measured_at,
            received_at=one.received_at,
            value=one.value,
            flag=checked.flag,
            reasons=list(checked.reasons),
            deviation=None if checked.deviation is None else round(checked.deviation, 3),
        )


class SensorOut(BaseModel):
    """How a sensor is."""

    sensor: str
    park: str
    board: str
    adapter: str
    topic: str | None = Field(description="Its MQTT topic; null: it sends over HTTP.")
    interval: float = Field(description="Its longest usual interval in seconds.")
    latest: ObservationOut | None = Field(description="What it measured last, good or not.")
    age: float | None = Field(description="Seconds since that was measured.")
    lag: float | None = Field(description="Seconds from that measurement to its arrival; null: it has no time.")
    missing: bool = Field(description="Nothing arrived for three intervals.")
    flags: dict[Flag, int] = Field(description="Observations since the gateway started, by flag.")
    rejects: dict[str, int] = Field(description="What gave no observation since the gateway started, by reason.")

    @classmethod
    def of(cls, state: SensorState, park: ParkSensors) -> "SensorOut":
        """Return a state as it is sent."""
        return cls(
            sensor=state.sensor.id,
            park=state.park,
            board=park.board,
            adapter=state.sensor.adapter,
            topic=state.sensor.topic,
            interval=state.sensor.rules.interval.total_seconds(),
            latest=ObservationOut.of(state.latest) if state.latest else None,
            age=state.age,
            lag=state.lag,
            missing=state.missing,
            flags=dict(state.flags),
            rejects=dict(state.rejects),
        )


class RejectOut(BaseModel):
    """A value that was not read, and why."""

    reason: str
    detail: str


class TakenOut(BaseModel):
    """What became of the readings; everything in it is on the disk."""

    stored: list[ObservationOut]
    repeated: int = Field(description="Readings that were known already.")
    rejected: list[RejectOut]


class TableFormat(StrEnum):
    """How observations are sent."""

    JSON = "json"
    CSV = "csv"


ALL_OBSERVATIONS = TypeAdapter(list[ObservationOut])


def add_sensor_routes(app: FastAPI, look: list[Any], bring: list[Any]) -> None:
    """Add the routes.

    Args:
        app: has the station as `state.station`, None where no park has sensors.
        look: the dependencies of routes for people.
        bring: those of routes for sensors.
    """
    _add_incoming(app, bring)
    _add_looks(app, look)


def _add_incoming(app: FastAPI, bring: list[Any]) -> None:
    @app.post(
        "/sensors/{sensor}/readings",
        dependencies=bring,
        openapi_extra=BODY,
        responses=documented("bad_observation", "bad_input", "not_found", "store_down"),
    )
    async def readings(sensor: str, request: Request) -> TakenOut:
        """Take one reading or a list of them, in the form of the sensor's adapter; what is answered is on the disk."""
        taken = await _take(_sensor(request, sensor, onem2m=False), request)
        if taken.rejects and not taken.new and not taken.repeated:
            raise ProblemError("bad_observation", _told(taken.rejects))
        return TakenOut(
            stored=[ObservationOut.of(one) for one in taken.new],
            repeated=taken.repeated,
            rejected=[RejectOut(reason=one.reason, detail=one.detail) for one in taken.rejects],
        )

    @app.post(
        "/sensors/{sensor}/onem2m",
        dependencies=bring,
        openapi_extra=BODY,
        response_class=Response,
        responses=documented("bad_observation", "bad_input", "not_found", "store_down"),
    )
    async def onem2m(sensor: str, request: Request) -> Response:
        """Take a oneM2M notification and acknowledge it; a verification request is answered with OK.

        A server that sends no Authorization header has its key in the address: `/sensors/{sensor}/onem2m/KEY`.
        """
        taken = await _take(_sensor(request, sensor, onem2m=True), request)
        if taken.request is None:
            raise ProblemError("bad_observation", _told(taken.rejects), {"X-M2M-RSC": "4000"})
        given = {name: value for name in RETURNED if (value := request.headers.get(name))}
        return Response(headers=RECEIVED | given)

    # The middleware has read the key. Not in the OpenAPI document, whose tools would have to invent one.
    app.add_api_route(
        "/sensors/{sensor}/onem2m/{key:path}", onem2m, methods=["POST"], dependencies=bring, include_in_schema=False
    )


def _add_looks(app: FastAPI, look: list[Any]) -> None:
    @app.get("/sensors", dependencies=look)
    async def all_sensors(request: Request) -> list[SensorOut]:
        """All sensors, each as it is now."""
        station: Station | None = request.app.state.station
        return [_out(station, name) for name in station.sensors] if station else []

    @app.get("/sensors/{sensor}", dependencies=look, responses=documented("not_found"))
    async def one_sensor(sensor: str, request: Request) -> SensorOut:
        """A sensor as it is now."""
        return _out(_station(request, sensor), sensor)

    @app.get(
        "/sensors/{sensor}/observations",
        dependencies=look,
        response_model=list[ObservationOut],
        responses={200: {"content": {"text/csv": {}}}, **documented("not_found", "bad_input", "store_down")},
    )
    async def observations(
        sensor: str,
        request: Request,
        start: Annotated[Moment | None, Query(alias="from", description="48 h ago by default.")] = None,
        end: Annotated[Moment | None, Query(alias="to", description="Not included; now by default.")] = None,
        table: Annotated[
            TableFormat | None, Query(alias="format", description="csv, or Accept: text/csv, for a table.")
        ] = None,
    ) -> Response:
        """What a sensor measured from one time to before another, with flags."""
        station = _station(request, sensor)
        until = end or datetime.now(UTC)
        since = start or _before(until)
        longest = ROWS * station.sensors[sensor].rules.interval
        if not timedelta(0) <= until - since <= longest:
            raise ProblemError("bad_input", f"From must be before to, by {longest} at most for this sensor.")
        is_csv = table is TableFormat.CSV or (table is None and "text/csv" in request.headers.get("accept", ""))
        return await asyncio.to_thread(_table, station, sensor, since, until, is_csv=is_csv)


def _before(moment: datetime) -> datetime:
    try:
        return moment - SHOWN
    except OverflowError as error:  # the year 1
        raise ProblemError("bad_input", "There is nothing before this time.") from error


def _station(request: Request, sensor: str) -> Station:
    station: Station | None = request.app.state.station
    if station is None or sensor not in station.sensors:
        raise ProblemError("not_found", "No park has a sensor of this id.")
    return station


def _sensor(request: Request, name: str, *, onem2m: bool) -> Sensor:
    """Return a sensor whose payloads this address takes."""
    sensor = _station(request, name).sensors[name]
    if sensor.topic:
        raise ProblemError("bad_input", "This sensor's payloads come over MQTT.")
    if (sensor.adapter == ONEM2M) is not onem2m:
        address = "onem2m" if sensor.adapter == ONEM2M else "readings"
        raise ProblemError("bad_input", f"This sensor's payloads come to /sensors/{name}/{address}.")
    # A form of a foreign page cannot send this type without asking first.
    if "json" not in request.headers.get("content-type", "").partition(";")[0].lower():
        raise ProblemError("bad_input", "Send the payload as application/json.")
    return sensor


async def _take(sensor: Sensor, request: Request) -> Taken:
    station = _station(request, sensor.id)
    delivery = Delivery(request.url.path, await request.body(), datetime.now(UTC))
    return await asyncio.to_thread(station.take, sensor.adapter, delivery, sensor.source)


def _told(rejects: Sequence[Reject]) -> str:
    return "; ".join(f"{one.reason}: {one.detail}" for one in rejects[:10]) + "." if rejects else ""


def _out(station: Station, sensor: str) -> SensorOut:
    state = station.state(sensor)
    return SensorOut.of(state, station.parks[state.park])


def _table(station: Station, sensor: str, since: datetime, until: datetime, *, is_csv: bool) -> Response:
    rows = [ObservationOut.of(one) for one in station.observations(sensor, since, until)]
    if not is_csv:
        return Response(ALL_OBSERVATIONS.dump_json(rows), media_type="application/json")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["sensor", *ObservationOut.model_fields])
    for one in rows:
        deviation = "" if one.deviation is None else one.deviation
        times = (one.measured_at.isoformat(), one.received_at.isoformat())
        writer.writerow([sensor, *times, one.value, one.flag, " ".join(one.reasons), deviation])
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8")

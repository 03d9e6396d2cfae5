"""Command line: `python -m sensors check | simulate | replay | prune`.

Broker, database and parks are the gateway's: the same environment variables or `.env` (SIGNBOARD_GATEWAY_…).
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from core.command_line import exit_code_of, interrupt_on_sigterm, print_version
from core.errors import SettingError
from sensors.check import Finding, findings, read_parks
from sensors.faults import FAULTS, NOTHING, Planned, span
from sensors.park_sensors import Sensor
from sensors.quality import Checked
from sensors.replay import recorded, shifted
from sensors.settings import SensorSettings, read_sensor_settings
from sensors.simulate import Measurement, Span, deliver, made_up, made_up_settings, messages, simulated
from sensors.store import SensorStore
from sensors.talk import Send, client_id, connected, heard, http_sender, mqtt_sender, wait_for_gateway

KEY = "SIGNBOARD_KEY"
# What is not a terminal is read by programs and kept in files: rows stay whole.
console = Console(width=None if sys.stdout.isatty() else 200)
app = typer.Typer(
    help="Sensors: look at them, simulate them, keep their observations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BrokerOption = Annotated[
    str | None, typer.Option(help="mqtt://HOST:1883 or mqtts://HOST:8883 (SIGNBOARD_GATEWAY_BROKER).")
]
DatabaseOption = Annotated[str | None, typer.Option(help="The database's URL (SIGNBOARD_GATEWAY_DATABASE).")]
ParksOption = Annotated[Path | None, typer.Option(help="The folder of the park files (SIGNBOARD_GATEWAY_PARKS).")]
GatewayOption = Annotated[
    str | None, typer.Option(help=f"The gateway's address, for sensors without a topic; the key is in {KEY}.")
]
DurationOption = Annotated[str | None, typer.Option(help="Stop after this time, such as 10m; else at Ctrl-C.")]


@app.callback()
def options_of_all(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept options before the subcommand."""


@app.command("check")
def check_command(
    park: Annotated[str | None, typer.Argument(help="Only this park.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to listen to the broker.")] = 10,
    broker: BrokerOption = None,
    database: DatabaseOption = None,
    parks: ParksOption = None,
) -> None:
    """Validate the park files and show what each sensor says; exit with 1 if one is silent, unreadable or bad."""
    settings = read_sensor_settings(broker=broker, database=database, parks=parks)
    found = read_parks(settings.parks, settings.timezone, park)
    topics = sorted({one.topic for these in found.values() for one in these.sensors if one.topic})
    listens = bool(settings.broker and topics and seconds)
    deliveries = heard(settings.broker_as(client_id("check")), topics, seconds) if listens else []
    with ExitStack() as stack:
        opened = stack.enter_context(SensorStore.open(settings.database)) if _is_there(settings) else None
        now = datetime.now(UTC)
        all_found = findings(found, deliveries, opened, now)
    console.print(_table(all_found, now))
    if topics and not listens:
        console.print("Nobody listened to a broker: give --broker and --seconds to see what topics say now.")
    if any(one.problem for one in all_found):
        raise typer.Exit(1)


@app.command("simulate")
def simulate_command(
    park: Annotated[str | None, typer.Argument(help="A park whose file says which sensors; else --adapter.")] = None,
    adapter: Annotated[str, typer.Option(help="Without PARK: what the simulated devices are.")] = "zigbee2mqtt",
    count: Annotated[int, typer.Option(min=1, max=1000, help="Without PARK: how many there are.")] = 3,
    interval: Annotated[float, typer.Option(min=1, help="Without PARK: seconds between two values.")] = 60,
    history: Annotated[str, typer.Option(help="How much of the past is sent first; 0h: nothing.")] = "26h",
    history_every: Annotated[
        str,
        typer.Option(
            help="Time between two past values; the page draws no line over more than three of a sensor's intervals."
        ),
    ] = "5m",
    duration: DurationOption = None,
    speed: Annotated[float, typer.Option(min=1, help="How much faster than the clock the weather passes.")] = 1,
    fault: Annotated[
        list[str] | None,
        typer.Option(help=f"[SENSOR=]FAULT@WHEN[+SPAN]: 85@10:00+30m, sim-2=stuck@now. Faults: {', '.join(FAULTS)}."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds have equal weather.")] = 1,
    wait: Annotated[bool, typer.Option("--wait", help="Begin once the gateway is connected to the broker.")] = False,
    broker: BrokerOption = None,
    gateway: GatewayOption = None,
    parks: ParksOption = None,
) -> None:
    """Send what the sensors of a park would send: past hours first, then as time passes."""
    settings = read_sensor_settings(broker=broker, parks=parks)
    sensors = _sensors(settings, park, adapter, count, interval)
    planned = _planned(fault or [], sensors)
    past, future = span(history), span(duration) if duration else None
    if park is None:
        section = {"devices": made_up_settings(adapter, count, interval)}
        text = yaml.safe_dump({"sensors": section}, sort_keys=False, allow_unicode=True)
        console.print(f"To see them on a board, add this to its park file:\n\n{escape(text)}")
    if wait:
        interrupt_on_sigterm()
        with _gateway_client(settings, gateway) as client:
            wait_for_gateway(client)
    time_span = Span(datetime.now(UTC), past, future, speed, span(history_every))
    _send(settings, gateway, sensors, simulated(sensors, time_span, seed), planned, time_span, seed)


@app.command("replay")
def replay_command(
    file: Annotated[Path, typer.Argument(help="CSV with the columns time, value (°C) and, for several, sensor.")],
    park: Annotated[str, typer.Option(help="The park whose sensors send it.")],
    timezone: Annotated[str, typer.Option(help="Of times without an offset.")],
    shift: Annotated[
        str | None, typer.Option(help="Move the times by this, such as 365d; else so that the file ends now.")
    ] = None,
    ahead: Annotated[str, typer.Option(help="How much of the end is sent later, as its time comes.")] = "0h",
    fault: Annotated[list[str] | None, typer.Option(help="As in simulate.")] = None,
    broker: BrokerOption = None,
    gateway: GatewayOption = None,
    parks: ParksOption = None,
) -> None:
    """Send recorded data, shifted in time so that they end now; of the past, the last 47 hours."""
    settings = read_sensor_settings(broker=broker, parks=parks)
    sensors = _sensors(settings, park, "", 0, 0)
    rows = recorded(file, timezone, [one.id for one in sensors])
    time_span = Span(datetime.now(UTC), NOTHING, None)
    moved = shifted(rows, time_span.start, span(ahead), span(shift) if shift else None)
    console.print(f"{len(moved)} of {len(rows)} rows lie in the last 47 hours or ahead.")
    _send(settings, gateway, sensors, moved, _planned(fault or [], sensors), time_span, 0)


@app.command("prune")
def prune_command(
    keep: Annotated[
        str | None, typer.Option(help="What to keep, such as 400d (SIGNBOARD_GATEWAY_SENSOR_DAYS).")
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Delete old observations now; the gateway does it once a day."""
    settings = read_sensor_settings(database=database)
    kept = span(keep) if keep else timedelta(days=settings.sensor_days)
    with _opened(settings) as opened:
        console.print(f"{opened.prune(datetime.now(UTC) - kept)} observations deleted")


def _sensors(settings: SensorSettings, park: str | None, adapter: str, number: int, interval: float) -> list[Sensor]:
    if park is None:
        return made_up(adapter, number, interval)
    return list(read_parks(settings.parks, settings.timezone, park)[park].sensors)


def _planned(faults: list[str], sensors: Sequence[Sensor]) -> list[Planned]:
    planned = [Planned.parse(text) for text in faults]
    known = [one.id for one in sensors]
    if wrong := next((one.sensor for one in planned if one.sensor and one.sensor not in known), None):
        raise SettingError(f"There is no sensor {wrong!r} to break.", f"Use one of: {', '.join(known)}.")
    return planned


def _send(
    settings: SensorSettings,
    gateway: str | None,
    sensors: Sequence[Sensor],
    measurements: Iterable[Measurement],
    planned: list[Planned],
    time_span: Span,
    seed: int,
) -> None:
    """Send until the end or Ctrl-C; tell how much it was."""
    interrupt_on_sigterm()
    by_id = {one.id: one for one in sensors}
    end = time_span.start + time_span.future if time_span.future is not None else None
    with _sender(settings, gateway, sensors) as send:
        due = messages(measurements, by_id, planned, time_span.start, seed)
        console.print("sending; Ctrl-C stops it")
        sent = deliver(due, send, end)
    console.print(f"sent: {', '.join(f'{name} {number}' for name, number in sent.items()) or 'nothing'}")


@contextmanager
def _sender(settings: SensorSettings, gateway: str | None, sensors: Sequence[Sensor]) -> Iterator[Send]:
    """Connect to what the sensors need: the broker for those with a topic, the gateway for the others."""
    with ExitStack() as stack:
        over: dict[bool, Send] = {}
        if any(one.topic for one in sensors):
            broker = settings.broker_as(client_id("simulator"))
            over[True] = mqtt_sender(stack.enter_context(connected(broker)))
        if not all(one.topic for one in sensors):
            over[False] = http_sender(stack.enter_context(_gateway_client(settings, gateway)))
        yield lambda sensor, payload: over[bool(sensor.topic)](sensor, payload)


def _gateway_client(settings: SensorSettings, address: str | None) -> httpx.Client:
    key = os.environ.get(KEY)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = address or f"http://{settings.host}:{settings.port}"
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)


def _is_there(settings: SensorSettings) -> bool:
    """Return whether the database exists: looking at it must not make it."""
    kind, _, path = settings.database.partition(":///")
    return kind != "sqlite" or Path(path).is_file()


def _opened(settings: SensorSettings) -> SensorStore:
    if not _is_there(settings):
        raise SettingError(f"There is no database {settings.database}.", "Give --database, or start the gateway once.")
    return SensorStore.open(settings.database)


def _table(found: Sequence[Finding], now: datetime) -> Table:
    table = Table("park", "sensor", "adapter", "topic", "says now", "last in the store", "state")
    for one in found:
        state = f"[red]{escape(one.problem)}[/red]" if one.problem else _state(one.now or one.stored)
        place = one.sensor.topic or f"HTTP /sensors/{one.sensor.id}/readings"
        told = [one.park, one.sensor.id, one.sensor.adapter, place, _said(one.now, now)]
        table.add_row(*map(escape, told), escape(_said(one.stored, now)), state)
    return table


def _state(latest: Checked | None) -> str:
    return "ok" if latest is None or not latest.reasons else f"[yellow]doubtful: {', '.join(latest.reasons)}[/yellow]"


def _said(checked: Checked | None, now: datetime) -> str:
    if checked is None:
        return "-"
    age = max(0, round((now - checked.observation.measured_at).total_seconds()))
    return f"{checked.observation.value:g} °C, {age} s ago"


if __name__ == "__main__":
    sys.exit(exit_code_of(app))

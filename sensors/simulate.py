"""A park to try: simulated or recorded measurements → faults → payloads, each sent when it is due.

In: sensors, measurements, planned faults. Out: messages to the broker or the gateway. What lies in the past goes first,
with its own times in the payloads, so that today can be compared with yesterday at once.
"""

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from core.errors import SettingError
from sensors.faults import FAULTLESS, FAULTS, Fault, Planned
from sensors.park_sensors import DeviceFile, Sensor
from sensors.shapes import SHAPES, has_time, payload
from sensors.source import zone
from sensors.talk import Send
from sensors.weather import Air, Thermometer

PAST_INTERVAL = timedelta(minutes=5)  # of past measurements, if nobody says otherwise: a comparison needs no more
PAST_RATE = 200.0  # messages per second: brokers drop what a slow reader does not fetch
PLACES = 0.7  # °C; how far a sensor's place is from the park's mean
SMOOTH = 0.05  # seconds; a message that is due this soon is due


@dataclass(frozen=True, slots=True)
class Measurement:
    """A true measurement: °C at an aware time."""

    at: datetime
    sensor: str
    value: float


@dataclass(frozen=True, slots=True)
class Message:
    """A payload and when it leaves the device."""

    due: datetime
    sensor: Sensor
    payload: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """What is simulated.

    Args:
        start: now; what is older goes out at once.
        past: how much older.
        future: how long to go on; None: until Ctrl-C.
        speed: how much faster than the clock the weather passes after the start. Payloads keep the clock's true times,
            because the future is believed by nobody: at 60, a minute later it is an hour warmer.
        past_interval: between two past values, but not less than the sensor's own.
    """

    start: datetime
    past: timedelta
    future: timedelta | None
    speed: float = 1.0
    past_interval: timedelta = PAST_INTERVAL

    def weather_time(self, moment: datetime) -> datetime:
        """Return of which time the weather is, at a time of the clock."""
        return moment if moment <= self.start else self.start + self.speed * (moment - self.start)


def made_up(adapter: str, number: int, interval: float) -> list[Sensor]:
    """Return sensors of one kind, named `sim-1` and so on, with that kind's usual topics.

    Raises:
        SettingError: there is no such adapter.
    """
    if adapter not in SHAPES:
        raise SettingError(f"There is no adapter {adapter!r}.", f"Use one of: {', '.join(SHAPES)}.")
    return [
        DeviceFile.model_validate(settings).sensor("Asia/Seoul")
        for settings in made_up_settings(adapter, number, interval)
    ]


def made_up_settings(adapter: str, number: int, interval: float) -> list[dict[str, object]]:
    """Return the same as the entries of a park's file."""
    shape = SHAPES[adapter]
    told = {"field": shape.field, "unit": shape.unit, "time_field": shape.time_field}
    named = {key: value for key, value in told.items() if value is not None}
    names = [f"sim-{one}" for one in range(1, number + 1)]
    topics = [{"topic": shape.topic.format(name)} if shape.topic else {} for name in names]
    return [
        {"id": name, "adapter": adapter, **topic, **named, "interval": interval}
        for name, topic in zip(names, topics, strict=True)
    ]


def simulated(sensors: Sequence[Sensor], span: Span, seed: int) -> Iterator[Measurement]:
    """Yield what the sensors of one park measure, in the order of time."""
    air, randomness = Air(seed), random.Random(seed)
    return heapq.merge(
        *(
            _series(
                one,
                Thermometer(air, randomness, randomness.uniform(-PLACES, PLACES), resolution=one.rules.resolution),
                span,
            )
            for one in sensors
        ),
        key=lambda one: one.at,
    )


def _series(sensor: Sensor, thermometer: Thermometer, span: Span) -> Iterator[Measurement]:
    for moment in _moments(sensor.rules.interval, span):
        yield Measurement(moment, sensor.id, thermometer.read(span.weather_time(moment)))


def _moments(interval: timedelta, span: Span) -> Iterator[datetime]:
    rough = max(interval, span.past_interval)
    for step in range(span.past // rough, 0, -1):
        yield span.start - step * rough
    for step in count():
        if span.future is not None and step * interval > span.future:
            return
        yield span.start + step * interval


def messages(
    measurements: Iterable[Measurement],
    sensors: Mapping[str, Sensor],
    faults: Sequence[Planned],
    start: datetime,
    seed: int = 0,
) -> Iterator[Message]:
    """Turn measurements into what arrives, in the order of arrival.

    Of the past, only what carries its true time is sent: everything else would pass for a measurement of now.

    Args:
        measurements: in the order of time, of `sensors` only.
        sensors: id → settings.
        faults: of two at once, the first one happens.
        start: now.
        seed: of the faults' randomness.
    """
    randomness = random.Random(seed)
    firsts: dict[tuple[str, Planned | None], float] = {}
    counts: Counter[str] = Counter()
    waiting: list[tuple[datetime, int, Message]] = []
    number = count()  # keeps the order of what is due at the same time
    for one in measurements:
        sensor = sensors[one.sensor]
        planned, since = _fault_of(one, sensor, faults, start)
        fault = FAULTS[planned.name] if planned else FAULTLESS
        if one.at < start and not (has_time(sensor.adapter, sensor.source) and fault.clock is FAULTLESS.clock):
            continue
        if (begun := (one.sensor, planned)) not in firsts or since < sensor.rules.interval:
            firsts[begun] = one.value
        told = fault.value(randomness, since, firsts[begun], one.value)
        written = payload(sensor.adapter, sensor.source, told, fault.clock(one.at, since), counts[one.sensor])
        counts[one.sensor] += 1
        for delay in _delays(fault, since, planned, sensor):
            heapq.heappush(waiting, (one.at + delay, next(number), Message(one.at + delay, sensor, written)))
        while waiting and waiting[0][0] <= one.at:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _delays(fault: Fault, since: timedelta, planned: Planned | None, sensor: Sensor) -> tuple[timedelta, ...]:
    return fault.delays(since, planned.lasts if planned else fault.lasts, sensor.rules.interval)


def _fault_of(
    one: Measurement, sensor: Sensor, faults: Sequence[Planned], start: datetime
) -> tuple[Planned | None, timedelta]:
    for planned in faults:
        if planned.sensor in (None, one.sensor):
            since = planned.since(one.at, start, zone(sensor.source.timezone or "UTC"))
            if since is not None:
                return planned, since
    return None, timedelta(0)


def deliver(
    due: Iterable[Message],
    send: Send,
    end: datetime | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> Counter[str]:
    """Send each message when it is due; return how many of each sensor were sent.

    Args:
        due: in the order in which they are due.
        send: returns once the other side has the payload.
        end: what is due later stays unsent; None: there is no end.
        clock: the wall clock.
        sleep: waits for some seconds.
    """
    sent: Counter[str] = Counter()
    for message in due:
        if end is not None and message.due > end:
            break
        early = (message.due - clock()).total_seconds()
        if early > SMOOTH:
            sleep(early)
        elif early < -1:
            sleep(1 / PAST_RATE)
        send(message.sensor, message.payload)
        sent[message.sensor.id] += 1
    return sent

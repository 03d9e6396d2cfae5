"""The station: payloads → checked observations in the store → a park's reading, and each sensor's state.

In: deliveries, from any thread. Out: what became of them, once it is on the disk. One station per process. It
remembers each sensor's latest hours; a `shared` one reads them anew, because other writers are not in its memory.

Threads may share a station. The MQTT client has threads of its own, HTTP routes call from a pool; both wait for the
disk, so neither may run in an event loop. One lock orders the writers: SQLite has one writer anyway, and an
observation is judged by those before it. `state` does not wait for it, and may be called in an event loop.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from sensors.adapters import adapt
from sensors.adapters.found import Adapted, Reject, Request
from sensors.days import AROUND, DAY, MAX_AGE, Comparison, Mode, NoReading, reading
from sensors.observation import Observation
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import NEAR, Checked, Flag, check, is_missing
from sensors.resolution import Resolution
from sensors.series import Series
from sensors.source import Delivery, Source
from sensors.store import SensorStore

# How far back a comparison looks: to 24 h before the oldest "now"; to yesterday's midnight, also where a day has 25 h.
LOOK_BACK = {Mode.SAME_TIME: DAY + AROUND + MAX_AGE, Mode.DAY_MAX: 2 * DAY + timedelta(hours=1)}
LEARNED_FROM = 5000  # good values that show a sensor's resolution after a restart: 3 days at a minute, 17 at five
Arrival = tuple[str, Delivery, Source]  # the adapter's name, what arrived, the sensor's settings


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery. All of it is on the disk.

    `new` are the observations that were not known yet, with their flags; `repeated` counts those that were.
    """

    new: tuple[Checked, ...] = ()
    repeated: int = 0
    rejects: tuple[Reject, ...] = ()
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class SensorState:
    """How a sensor is.

    Args:
        sensor: its settings.
        park: the park's file name.
        latest: what it measured last, whatever its flag; None: it never measured anything.
        age: seconds since that was measured.
        lag: seconds from the measurement to the arrival; None: the payload has no time.
        missing: nothing arrived for three of its intervals.
        rejects: why payloads and values gave no observation, since the start: reason → how often.
        flags: how observations were flagged, since the start.
    """

    sensor: Sensor
    park: str
    latest: Checked | None
    age: float | None
    lag: float | None
    missing: bool
    rejects: Mapping[str, int]
    flags: Mapping[Flag, int]


class Station:
    """Ties adapters, quality control, store and comparison together.

    ```
    station = Station({"lake": park_sensors}, store)
    station.take("zigbee2mqtt", Delivery(topic, payload, now), sensor.source)
    station.reading("lake", now)
    ```

    Args:
        parks: each park's sensors, by the park's file name.
        store: keeps the observations.
        clock: the wall clock.
        shared: other programs write to the store, too: what is in memory is read again before each judgement.
    """

    def __init__(
        self,
        parks: Mapping[str, ParkSensors],
        store: SensorStore,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        shared: bool = False,
    ) -> None:
        self.parks = parks
        self.sensors: dict[str, Sensor] = {one.id: one for park in parks.values() for one in park.sensors}
        self.store = store
        self._clock = clock
        self._shared = shared
        self._park_of = {one.id: name for name, park in parks.items() for one in park.sensors}
        self._writing = Lock()
        self._counting = Lock()  # never held while the disk is waited for
        self._series: dict[str, Series] = {}
        self._resolutions: dict[str, Resolution] = {}  # they outlive the series, which may be dropped at any time
        self._latest: dict[str, Checked | None] = {sensor: store.latest(sensor) for sensor in self.sensors}
        self._arrived = dict(self._latest)
        self._watchers: list[Callable[[str], None]] = []
        self._rejects: dict[str, Counter[str]] = {sensor: Counter() for sensor in self.sensors}
        self._flags: dict[str, Counter[Flag]] = {sensor: Counter() for sensor in self.sensors}

    def take(self, adapter: str, delivery: Delivery, source: Source) -> Taken:
        """Take one payload for one sensor; when this returns, what it says is on the disk. Twice is once.

        Raises:
            DatabaseError: it could not be kept; nothing of it was.
        """
        return self.take_many([(adapter, delivery, source)])[0]

    def take_many(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Take many payloads in one transaction, all or none: the disk is waited for once.

        Raises:
            DatabaseError: they could not be kept; nothing of them was.
        """
        adapted = [adapt(name, delivery, source) for name, delivery, source in arrivals]
        with self._writing:
            if self._shared:
                self._series.clear()
            try:
                checked = [[self._check(one) for one in payload.observations] for payload in adapted]
                fresh = [one for payload in checked for one in payload if one]
                kept = iter(self.store.add_many(fresh))
                taken = [self._taken(payload, ones, kept) for payload, ones in zip(adapted, checked, strict=True)]
            except BaseException:
                self._series.clear()  # it has what the disk has not
                raise
            self._count(taken)
        self._tell({self._park_of[new.observation.sensor] for one in taken for new in one.new})
        return taken

    def reload(self) -> None:
        """Read again what each sensor measured last, and tell the watchers of the parks where that is another one.

        Raises:
            DatabaseError: the store could not be read.
        """
        latest = {sensor: self.store.latest(sensor) for sensor in self.sensors}
        with self._counting:
            changed = {sensor for sensor, found in latest.items() if found != self._latest[sensor]}
            self._latest |= latest
            self._arrived |= {sensor: latest[sensor] for sensor in changed}
        self._tell({self._park_of[sensor] for sensor in changed})

    @contextmanager
    def watched(self, told: Callable[[str], None]) -> Iterator[None]:
        """Within a `with` block, call `told` with a park's name when something new of it is on the disk.

        In the thread that took it: `told` must return at once and raise nothing.
        """
        self._watchers.append(told)
        try:
            yield
        finally:
            self._watchers.remove(told)

    def reading(self, park: str, now: datetime) -> Comparison | NoReading:
        """Compare a park's today with its yesterday.

        Raises:
            DatabaseError: the store could not be read.
        """
        sensors = self.parks[park]
        names = [*(one.id for one in sensors.sensors), *sensors.replaced.values()]
        since = now - LOOK_BACK[sensors.mode]
        observations = {name: self.store.between(name, since, now + AROUND + datetime.resolution) for name in names}
        return reading(observations, now, sensors.timezone, sensors.mode, sensors.choice, replaced=sensors.replaced)

    def state(self, sensor: str) -> SensorState:
        """Return how a sensor is now; without a look into the store."""
        now, settings = self._clock(), self.sensors[sensor]
        with self._counting:
            latest, arrived = self._latest[sensor], self._arrived[sensor]
            rejects, flags = dict(self._rejects[sensor]), dict(self._flags[sensor])
        measured = latest.observation if latest else None
        return SensorState(
            sensor=settings,
            park=self._park_of[sensor],
            latest=latest,
            age=max(0.0, (now - measured.measured_at).total_seconds()) if measured else None,
            lag=(measured.received_at - measured.measured_at).total_seconds() if measured and measured.timed else None,
            missing=is_missing(arrived, now, settings.rules),
            rejects=rejects,
            flags=flags,
        )

    def observations(self, sensor: str, start: datetime, end: datetime) -> list[Checked]:
        """Return what a sensor measured from `start` to before `end`.

        Raises:
            DatabaseError: the store could not be read.
        """
        return self.store.between(sensor, start, end)

    def _tell(self, parks: Set[str]) -> None:
        for park in parks:
            for told in tuple(self._watchers):
                told(park)

    def _check(self, new: Observation) -> Checked | None:
        """Flag an observation and remember it; None: its key is known."""
        series = self._of(new.sensor, new.received_at)
        resolution = self._resolution(new.sensor)
        series.rules = self.sensors[new.sensor].rules.showing(resolution.shown)
        recent = series.before(new.measured_at)
        if new.key in series:
            return None
        neighbours = (self._of(one.id, new.received_at) for one in self.parks[self._park_of[new.sensor]].sensors)
        said = (one.for_others(new.measured_at, NEAR) for one in neighbours if one is not series)
        checked = check(new, recent, [one for one in said if one], series.rules)
        series.add(checked)
        resolution.add(checked)
        return checked

    def _resolution(self, sensor: str) -> Resolution:
        if sensor not in self._resolutions:
            self._resolutions[sensor] = Resolution(self.store.last_good(sensor, LEARNED_FROM))
        return self._resolutions[sensor]

    def _of(self, sensor: str, now: datetime) -> Series:
        if sensor not in self._series:
            self._series[sensor] = Series(sensor, self.sensors[sensor].rules, self.store, now)
        return self._series[sensor]

    def _taken(self, payload: Adapted, checked: Sequence[Checked | None], kept: Iterator[bool]) -> Taken:
        new = [one for one in checked if one and next(kept)]
        for one in checked:
            if one and one not in new:  # the store knows it under another time: the memory must not have it twice
                self._series.pop(one.observation.sensor, None)
        return Taken(tuple(new), len(checked) - len(new), payload.rejects, payload.request)

    def _count(self, taken: Sequence[Taken]) -> None:
        with self._counting:
            for reject in (reject for one in taken for reject in one.rejects):
                self._rejects[reject.sensor][reject.reason] += 1
            for checked in (checked for one in taken for checked in one.new):
                sensor = checked.observation.sensor
                self._flags[sensor][checked.flag] += 1
                self._arrived[sensor] = checked
                last = self._latest[sensor]
                if last is None or checked.observation.measured_at >= last.observation.measured_at:
                    self._latest[sensor] = checked
        for checked in (checked for one in taken for checked in one.new):
            if series := self._series.get(checked.observation.sensor):
                series.forget(checked.observation.measured_at)

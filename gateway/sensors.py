"""What runs beside the gateway's routes: the connection to the broker, pruning; and the sensors' metrics."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.errors import SignboardError
from database.database import Database
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from gateway.state import running
from sensors.mqtt import Broker, Subscriber
from sensors.park_sensors import ParkSensors
from sensors.station import Station
from sensors.store import SensorStore

PRUNE_SECONDS = 24 * 3600.0
RELOAD_SECONDS = 2.0  # between two looks for what other gateways took


class Sensing:
    """The station, and the connection to the broker while this gateway leads.

    Args:
        station: takes and compares observations.
        broker: brings them; None: they come over HTTP only.
    """

    def __init__(self, station: Station, broker: Broker | None) -> None:
        self.station = station
        self.subscriber: Subscriber | None = None  # None: not connected by this gateway
        self._broker = broker

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[None]:
        """Hear the broker for the length of a block.

        Raises:
            SettingError: the certificate of the broker's authority cannot be used.
        """
        if self._broker is None:
            yield
            return
        self.subscriber = subscriber = Subscriber(self._broker, self.station)
        try:
            subscriber.start()
            yield
        finally:
            self.subscriber = None
            await asyncio.to_thread(subscriber.stop)

    async def reload(self) -> None:
        """Look for what other gateways took, for ever."""
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                await asyncio.to_thread(self.station.reload)
            except SignboardError as error:
                LOG.warning("observations could not be read", extra={"why": error.what})


@asynccontextmanager
async def running_station(
    settings: GatewaySettings, parks: dict[str, ParkSensors], database: Database, metrics: Metrics
) -> AsyncIterator[Sensing | None]:
    """Keep the station and prune once a day; yield None if no park has sensors.

    Raises:
        DatabaseError: the observations cannot be read.
    """
    if not parks:
        yield None
        return
    store, shared = SensorStore(database), settings.gateways > 1
    sensing = Sensing(await asyncio.to_thread(Station, parks, store, shared=shared), settings.parsed_broker)
    metrics.registry.register(SensorMetrics(sensing))
    async with running(lambda: _prune(store, settings.sensor_days), *([sensing.reload] if shared else [])):
        yield sensing


async def _prune(store: SensorStore, days: int) -> None:
    while True:
        try:
            await asyncio.to_thread(store.prune, datetime.now(UTC) - timedelta(days=days))
        except SignboardError as error:
            LOG.warning("old observations could not be deleted", extra={"why": error.what})
        await asyncio.sleep(PRUNE_SECONDS)


class SensorMetrics(Collector):
    """The sensors' metrics, read from the station at every scrape; those of the broker only where it is heard.

    Args:
        sensing: knows the sensors.
    """

    def __init__(self, sensing: Sensing) -> None:
        self._station = sensing.station
        self._sensing = sensing

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        age = GaugeMetricFamily("signboard_sensor_age_seconds", "Since the last measurement.", labels=["sensor"])
        lag = GaugeMetricFamily("signboard_sensor_lag_seconds", "From measurement to arrival.", labels=["sensor"])
        missing = GaugeMetricFamily("signboard_sensor_missing", "1: silent for three intervals.", labels=["sensor"])
        flags = CounterMetricFamily("signboard_observations", "Observations by flag.", labels=["sensor", "flag"])
        rejects = CounterMetricFamily("signboard_sensor_rejects", "Unreadable values.", labels=["sensor", "reason"])
        for sensor in self._station.sensors:
            state = self._station.state(sensor)
            missing.add_metric([sensor], state.missing)
            for gauge, value in ((age, state.age), (lag, state.lag)):
                if value is not None:
                    gauge.add_metric([sensor], value)
            for flag, count in state.flags.items():
                flags.add_metric([sensor, flag], count)
            for reason, count in state.rejects.items():
                rejects.add_metric([sensor, reason], count)
        yield from (age, lag, missing, flags, rejects)
        if subscriber := self._sensing.subscriber:
            yield GaugeMetricFamily("signboard_broker_connected", "1: the broker answers.", subscriber.connected)
            yield GaugeMetricFamily("signboard_broker_waiting", "Messages not on the disk.", subscriber.waiting)

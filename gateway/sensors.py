"""What runs beside the gateway's routes: the store, the connection to the broker, pruning; and the sensors' metrics."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.errors import SignboardError
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from sensors.mqtt import Subscriber
from sensors.park_sensors import ParkSensors
from sensors.settings import SENSOR_STORE
from sensors.station import Station
from sensors.store import SensorStore

PRUNE_SECONDS = 24 * 3600.0


@asynccontextmanager
async def running_station(
    settings: GatewaySettings, parks: dict[str, ParkSensors], metrics: Metrics
) -> AsyncIterator[Station | None]:
    """Open the store, connect to the broker and prune once a day; yield None if no park has sensors.

    Raises:
        SensorStoreError: the store cannot be opened.
        SettingError: the certificate of the broker's authority cannot be used.
    """
    if not parks:
        yield None
        return
    if settings.sensor_store == SENSOR_STORE:
        Path("runs").mkdir(exist_ok=True)  # the default works in a fresh folder
    store = await asyncio.to_thread(SensorStore.open, settings.sensor_store)
    try:
        station = await asyncio.to_thread(Station, parks, store)
        broker = settings.parsed_broker
        subscriber = Subscriber(broker, station) if broker else None
        metrics.registry.register(SensorMetrics(station, subscriber))
        pruning = asyncio.create_task(_prune(store, settings.sensor_days))
        try:
            if subscriber:
                subscriber.start()
            yield station
        finally:
            pruning.cancel()
            with suppress(asyncio.CancelledError):
                await pruning
            if subscriber:
                await asyncio.to_thread(subscriber.stop)
    finally:
        store.close()


async def _prune(store: SensorStore, days: int) -> None:
    while True:
        try:
            await asyncio.to_thread(store.prune, datetime.now(UTC) - timedelta(days=days))
        except SignboardError as error:
            LOG.warning("old observations could not be deleted", extra={"why": error.what})
        await asyncio.sleep(PRUNE_SECONDS)


class SensorMetrics(Collector):
    """The sensors' metrics, read from the station at every scrape.

    Args:
        station: knows the sensors.
        subscriber: the connection to the broker; None: there is no broker.
    """

    def __init__(self, station: Station, subscriber: Subscriber | None) -> None:
        self._station = station
        self._subscriber = subscriber

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
        if self._subscriber:
            yield GaugeMetricFamily("signboard_broker_connected", "1: the broker answers.", self._subscriber.connected)
            yield GaugeMetricFamily("signboard_broker_waiting", "Messages not on the disk.", self._subscriber.waiting)

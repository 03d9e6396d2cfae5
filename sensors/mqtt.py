"""The MQTT client: from the broker into the station, and a message is acknowledged only after it is on the disk.

In: a broker's address, a station. Out: observations in its store, oneM2M notifications answered.

Two threads, none of them an event loop's: paho's network thread receives, a second one takes what waits in one
transaction and acknowledges it then. So a killed process loses nothing of QoS 1 (the broker delivers it again), and the
broker's in-flight window bounds what waits here.

The session is persistent: the broker keeps QoS 1 messages while we are away. It also keeps subscriptions that the parks
no longer name; the store knows them, so they are ended. What it delivers a second time, or
retained, has waited for an unknown time; it counts only if the payload has a time of its own. What it queued and
delivers for the first time cannot be told from a new message; quality control's `queued` flags that.

MQTT 3.1.1, which every broker and platform speaks, with a fixed client id.
"""

import logging
import queue
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.matcher import MQTTMatcher
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import SettingError
from database.faults import DatabaseError
from sensors.adapters.onem2m import acknowledgement, response_topic
from sensors.park_sensors import Sensor
from sensors.source import Delivery
from sensors.station import Arrival, Station

LOG = logging.getLogger("signboard.sensors")
PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEP_ALIVE = 30  # seconds; a dead connection is noticed after one and a half of it
RECONNECT_SECONDS = (1, 60)  # between attempts: the first pause, doubled up to the last one; for ever
BATCH = 500  # messages in one transaction
WAITING = 10_000  # messages of QoS 0, which no window bounds; more are dropped
SHORT_SECONDS = 10.0  # a connection that lives no longer was cut by the broker …
TAKEN_OVER = 3  # … and so many in a row mean that another client has our id
STOP_SECONDS = 5.0  # to write what waits


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are there."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None  # None: the system's authorities
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    client_id: str = "signboard"

    @classmethod
    def at(cls, url: str, **more: Any) -> "Broker":
        """Read an address such as `mqtt://broker:1883` or `mqtts://broker`; the other fields as they are.

        Raises:
            SettingError: it is no such address.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or PORTS[parts.scheme]
            if not parts.hostname or parts.username or parts.path.strip("/") or parts.query:
                raise ValueError(url)
        except (KeyError, ValueError) as error:
            raise SettingError(
                f"{url.rpartition('@')[2]!r} is not a broker's address.",
                "Write mqtt://host:1883, or mqtts://host:8883 for TLS; user and password have settings of their own.",
            ) from error
        return cls(parts.hostname, port, parts.scheme == "mqtts", **more)

    def introduce(self, client: Client) -> None:
        """Give a client user, password and TLS.

        Raises:
            SettingError: the file with the authority's certificate cannot be used.
        """
        client.username_pw_set(self.user, self.password)
        if not self.tls:
            return
        try:
            client.tls_set_context(ssl.create_default_context(cafile=self.ca_file))
        except OSError as error:
            raise SettingError(f"{self.ca_file} holds no usable certificate: {error}.", "Check the file.") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    connection: int  # on which it came: an acknowledgement must not meet another message of the next one
    id: int
    qos: int
    delivery: Delivery


class Subscriber:
    """Brings a broker's messages to a station, and reconnects for ever.

    ```
    with Subscriber(Broker.at("mqtt://127.0.0.1"), station):
        ...
    ```

    Args:
        broker: where to connect.
        station: takes the payloads.
        clock: the wall clock.

    Raises:
        SettingError: the file with the authority's certificate cannot be used.
    """

    def __init__(
        self, broker: Broker, station: Station, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._broker = broker
        self._station = station
        self._clock = clock
        self._sensors: dict[str, list[Sensor]] = {}  # by topic, which may have wildcards
        for sensor in station.sensors.values():
            if sensor.topic:
                self._sensors.setdefault(sensor.topic, []).append(sensor)
        self._matcher = MQTTMatcher()  # type: ignore[no-untyped-call]  # paho types only its main module
        for topic, sensors in self._sensors.items():
            self._matcher[topic] = sensors
        self._waiting: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._session = f"{broker.client_id} at {broker.host}:{broker.port}"
        self._connection = 0
        self._accepted_at: float | None = None
        self._short = 0  # connections in a row that did not last
        self._stopping = threading.Event()
        self._worker = threading.Thread(target=self._work, name="sensors-store", daemon=True)
        self._client = self._new_client()

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._client.is_connected()

    @property
    def waiting(self) -> int:
        """How many messages are not on the disk yet."""
        return self._waiting.qsize()

    def __enter__(self) -> "Subscriber":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Connect in the background; a broker that is not there yet is waited for."""
        self._worker.start()
        self._client.connect_async(self._broker.host, self._broker.port, KEEP_ALIVE)
        self._client.loop_start()

    def stop(self) -> None:
        """Write and acknowledge what waits, then disconnect; the broker keeps what comes from now on."""
        self._stopping.set()
        self._waiting.put(None)
        self._worker.join(STOP_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()

    def _new_client(self) -> Client:
        broker = self._broker
        client = Client(
            CallbackAPIVersion.VERSION2,
            broker.client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        broker.introduce(client)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        client.on_subscribe = self._subscribed
        client.on_unsubscribe = self._unsubscribed
        return client

    # paho's thread

    def _connected(
        self, client: Client, _data: Any, flags: ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if code.is_failure:
            LOG.error("the broker refuses us: %s", code)
            return
        LOG.info("connected to the broker", extra={"session": "kept" if flags.session_present else "new"})
        self._accepted_at = time.monotonic()
        if self._sensors:
            client.subscribe([(topic, 1) for topic in self._sensors])
        try:
            self._end_old_ones(client, kept=flags.session_present)
        except DatabaseError as error:  # they cost traffic and no truth; the next connection tries again
            LOG.warning("what we had subscribed to is not known: %s", error)

    def _end_old_ones(self, client: Client, *, kept: bool) -> None:
        """Unsubscribe from what the parks no longer name, and remember the rest."""
        wanted, known = set(self._sensors), self._station.store.subscriptions(self._session)
        old = known - wanted if kept else set()
        if known != wanted | old:
            self._station.store.keep_subscriptions(self._session, wanted | old)
        if old:
            client.unsubscribe(sorted(old))

    def _unsubscribed(
        self, _client: Client, _data: Any, _id: int, codes: list[ReasonCode], _more: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            return
        LOG.info("the broker sends no more of topics that no park names")
        try:
            self._station.store.keep_subscriptions(self._session, set(self._sensors))
        except DatabaseError as error:
            LOG.warning("what we have unsubscribed from is not noted: %s", error)

    def _disconnected(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        self._connection += 1  # here: while we connect again, an old acknowledgement must not be sent either
        if code.is_failure:
            LOG.warning("the broker is gone: %s; connecting again", code)
            self._notice_a_rival()

    def _notice_a_rival(self) -> None:
        """Say once that another client has our id: each one's connection ends the other's, for ever.

        MQTT 3.1.1 does not say why a connection ends, so it is told by how short connections are.
        """
        if self._accepted_at is None:
            return
        lasted, self._accepted_at = time.monotonic() - self._accepted_at, None
        self._short = self._short + 1 if lasted < SHORT_SECONDS else 0
        if self._short == TAKEN_OVER:
            LOG.error(
                "the broker has ended %d connections in a row within %.0f s; if a second gateway has the client id %r, "
                "give each its own (SIGNBOARD_GATEWAY_BROKER_CLIENT_ID)",
                TAKEN_OVER,
                SHORT_SECONDS,
                self._broker.client_id,
            )

    def _subscribed(
        self, _client: Client, _data: Any, _id: int, codes: list[ReasonCode], _more: Properties | None
    ) -> None:
        if refused := sum(code.is_failure for code in codes):
            LOG.error("the broker refuses %d of %d topics; check its access list", refused, len(codes))

    def _arrived(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.qos == 0 and self.waiting >= WAITING:
            return
        kept = message.retain or message.dup
        delivery = Delivery(_topic(message), bytes(message.payload), self._clock(), kept)
        self._waiting.put(_Message(self._connection, message.mid, message.qos, delivery))

    # The thread that writes

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < BATCH and not self._waiting.empty():
                if (one := self._waiting.get()) is None:
                    self._waiting.put(None)  # the stop comes after this batch
                    break
                batch.append(one)
            self._keep(batch)

    def _keep(self, batch: list[_Message]) -> None:
        """Take a batch; try for ever, because what is not acknowledged stays safe at the broker."""
        pause, longest = RECONNECT_SECONDS
        while True:
            try:
                self._take(batch)
            except DatabaseError as error:
                LOG.error("the store takes nothing: %s", error)
            except Exception:  # a fault of ours must neither end this thread nor acknowledge what was not kept
                LOG.exception("messages could not be taken")
            else:
                return
            if self._stopping.wait(pause):
                return
            pause = min(2 * pause, longest)

    def _take(self, batch: list[_Message]) -> None:
        wanted = [(message, sensor) for message in batch for sensor in self._for(message.delivery.place)]
        arrivals: list[Arrival] = [(one.adapter, message.delivery, one.source) for message, one in wanted]
        taken = self._station.take_many(arrivals)
        requests = {message: one.request for (message, _), one in zip(wanted, taken, strict=True) if one.request}
        for message, request in requests.items():  # one answer for each, however many sensors read it
            if topic := response_topic(message.delivery.place):
                self._client.publish(topic, acknowledgement(request))
        for message in batch:
            if message.qos and message.connection == self._connection:
                self._client.ack(message.id, message.qos)

    def _for(self, topic: str) -> list[Sensor]:
        found = self._matcher.iter_match(topic)  # type: ignore[no-untyped-call]  # as above
        return [sensor for sensors in found for sensor in sensors]


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:  # no sensor's; it is acknowledged and forgotten
        return ""

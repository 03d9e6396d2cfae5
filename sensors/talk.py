"""The other side of the broker and the gateway: sends payloads as devices do, and listens to topics for a while.

In: a sensor and a payload, or topics. Out: delivered payloads, what was heard. `simulate`, `replay` and `check` use it;
the gateway's own connection is sensors/mqtt.py.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from core.errors import ServerFailed, ServerUnavailable
from sensors.mqtt import Broker
from sensors.park_sensors import Sensor
from sensors.source import Delivery

CONNECT_SECONDS = 10.0
PATIENCE = 600.0  # seconds for which an unreachable broker or gateway is tried again
PAUSE = 1.0

Send = Callable[[Sensor, bytes], None]


def client_id(what: str) -> str:
    """Return a name that no other client at the broker has."""
    return f"signboard-{what}-{os.getpid()}"


def topic_of(sensor: Sensor) -> str:
    """Return a topic that the sensor's one matches: wildcards become its device or id."""
    levels = (sensor.topic or "").split("/")
    name = (sensor.source.device or sensor.id).replace("/", "-")
    return "/".join(name if level in ("+", "#") else level for level in levels)


@contextmanager
def connected(
    broker: Broker, hears: Callable[[MQTTMessage], None] | None = None, topics: Iterable[str] = ()
) -> Iterator[Client]:
    """Connect to a broker for the length of a block; a lost connection comes back by itself.

    Raises:
        ServerUnavailable: nothing answers, or the broker refuses us.
        SettingError: the authority's certificate cannot be used.
    """
    client = Client(CallbackAPIVersion.VERSION2, broker.client_id)
    answered = threading.Event()
    told: list[ReasonCode] = []

    def on_connect(
        client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        told.append(code)
        if wanted := [(topic, 1) for topic in topics]:
            client.subscribe(wanted)
        answered.set()

    client.on_connect = on_connect
    if hears is not None:
        client.on_message = lambda _client, _data, message: hears(message)
    client.reconnect_delay_set(1, 5)
    broker.introduce(client)
    where = f"{broker.host}:{broker.port}"
    try:
        client.connect(broker.host, broker.port)
    except OSError as error:  # refused, no such host, a certificate that does not fit
        raise ServerUnavailable(f"No broker answers at {where}: {error}.", "Start it, or give --broker.") from error
    client.loop_start()
    try:
        if not answered.wait(CONNECT_SECONDS) or told[0].is_failure:
            raise ServerUnavailable(
                f"The broker at {where} refuses us: {told[0] if told else 'no answer'}.", "Check user and password."
            )
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def mqtt_sender(client: Client) -> Send:
    """Return what publishes a payload at QoS 1 and waits until the broker has it."""
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    client.on_publish = lambda _client, _data, message, _code, _more: arrived.put(message)

    def send(sensor: Sensor, payload: bytes) -> None:
        told = client.publish(topic_of(sensor), payload, qos=1)
        if told.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise ServerFailed(f"The message cannot be published: {told.rc.name}.", "See the broker's log.")
        try:
            while arrived.get(timeout=PATIENCE) != told.mid:
                pass
        except queue.Empty:  # paho sends it again after a restart of the broker, and there was none
            raise ServerUnavailable("The broker has not answered for 10 minutes.", "Start it again.") from None

    return send


def http_sender(client: httpx.Client) -> Send:
    """Return what posts a payload to the gateway and waits until it is on the disk.

    Args:
        client: with the gateway's address and, if it wants one, the key.
    """

    def send(sensor: Sensor, payload: bytes) -> None:
        address = f"/sensors/{sensor.id}/{'onem2m' if sensor.adapter == 'onem2m' else 'readings'}"
        end = time.monotonic() + PATIENCE
        while True:
            try:
                answer = client.post(address, content=payload, headers={"Content-Type": "application/json"})
            except httpx.TransportError as error:
                problem = f"no answer ({type(error).__name__})"
            else:
                if answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    return _judge(answer, address)
                problem = f"status {answer.status_code}"
            if time.monotonic() > end:
                raise ServerUnavailable(f"{client.base_url} takes nothing: {problem}.", "Start the gateway.")
            time.sleep(PAUSE)

    return send


def _judge(answer: httpx.Response, address: str) -> None:
    """Let what the gateway understood and did not want pass: a faulty value is sent on purpose.

    Raises:
        ServerFailed: the address, the key or the form is wrong.
    """
    if answer.is_error and "bad_observation" not in answer.text:
        raise ServerFailed(f"{address} answers {answer.status_code}: {answer.text[:200]}", "Compare park file and key.")


def wait_for_gateway(client: httpx.Client) -> None:
    """Wait until the gateway is connected to its broker: what is sent earlier reaches nobody.

    Args:
        client: with the gateway's address and, if it wants one, the key.

    Raises:
        ServerUnavailable: it is not, for 10 minutes.
    """
    end = time.monotonic() + PATIENCE
    while not _is_connected(client):
        if time.monotonic() > end:
            raise ServerUnavailable(f"{client.base_url} has no connection to a broker.", "See the gateway's log.")
        time.sleep(PAUSE)


def _is_connected(client: httpx.Client) -> bool:
    try:
        return "signboard_broker_connected 1.0" in client.get("/metrics").text
    except httpx.TransportError:
        return False


def heard(broker: Broker, topics: Iterable[str], seconds: float) -> list[Delivery]:
    """Return what arrives at topics for some seconds, what the broker kept included.

    Raises:
        ServerUnavailable: nothing answers, or the broker refuses us.
    """
    deliveries: list[Delivery] = []

    def hears(message: MQTTMessage) -> None:
        deliveries.append(Delivery(message.topic, bytes(message.payload), datetime.now(UTC), bool(message.retain)))

    with connected(broker, hears, topics):
        time.sleep(seconds)
    return deliveries

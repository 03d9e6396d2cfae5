"""The boards at the MQTT broker, for players, home-made signs and Home Assistant.

In: the boards' views. Out: topics that begin as the setting says, here `signboard`, all retained:

```
signboard/status            online | offline (also by the broker, when the gateway is gone)
signboard/<board>/message   the board's view in JSON, as `GET /boards/<board>` and the events have it
signboard/<board>/picture   its pages as one PNG, one below the other; black: blank
```

A message expires at the broker when it is stale (MQTT 5), so nobody who comes later gets an old one, whether the
gateway lives or not. Those who are there get a blank view at that moment; in case the gateway is gone by then, each
view says `blank_at` and `seconds_left`.

QoS 0, and everything anew on each connection: with QoS 1 the client would send again, after a long break, what it could
not send before it, and that may be stale.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core import __version__
from gateway.boards import Boards, BoardView
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.pictures import Wanted, encode, pages_of, profile_of, stacked
from gateway.settings import NAME, GatewaySettings
from sensors.mqtt import KEEP_ALIVE, RECONNECT_SECONDS, Broker
from signs.errors import NotDrawable

ONLINE, OFFLINE = "online", "offline"


class Publisher:
    """Publishes every board, now and at each change, and reconnects for ever.

    Args:
        settings: the topics, the AI mark and the look of pictures.
        broker: where to connect.
        boards: have the views.

    Raises:
        SettingError: the file with the authority's certificate cannot be used.
    """

    def __init__(self, settings: GatewaySettings, broker: Broker, boards: Boards) -> None:
        self._settings = settings
        self._broker = replace(broker, client_id=f"{broker.client_id}-boards")  # beside the sensors' connection
        self._boards = boards
        self._told: set[str] = set()  # boards that Home Assistant knows, on this connection
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watching: asyncio.Task[None] | None = None
        self._client = self._new_client()

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._client.is_connected()

    def start(self) -> None:
        """Connect in the background; a broker that is not there yet is waited for."""
        self._loop = asyncio.get_running_loop()
        self._client.connect_async(self._broker.host, self._broker.port, KEEP_ALIVE, clean_start=True)
        self._client.loop_start()

    async def stop(self) -> None:
        """Say that we are gone, and disconnect."""
        await self._end()
        self._publish("status", OFFLINE)
        await asyncio.to_thread(self._disconnect)

    def _new_client(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, self._broker.client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.reconnect_delay_set(*RECONNECT_SECONDS)
        self._broker.introduce(client)
        client.will_set(self._topic("status"), OFFLINE, qos=1, retain=True)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._kept
        return client

    def _disconnect(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # paho's thread

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if code.is_failure:
            LOG.error("the broker refuses to take the boards (it must speak MQTT 5): %s", code)
            return
        LOG.info("the boards are published at the broker")
        # What an earlier gateway left there: its boards may be blank now.
        client.subscribe(self._topic("+/message"), options=SubscribeOptions(qos=0, noLocal=True))
        self._call(self._begin())

    def _disconnected(
        self, _client: Client, _data: Any, _flags: DisconnectFlags, code: ReasonCode, _more: Properties | None
    ) -> None:
        if code.is_failure:
            LOG.warning("the broker is gone: %s; connecting again", code)
        self._call(self._end())

    def _kept(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.retain:
            self._call(self._correct(message.topic.split("/")[-2], bytes(message.payload)))

    def _call(self, work: Any) -> None:
        if self._loop and not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(work, self._loop)
        else:
            work.close()

    # The event loop

    async def _begin(self) -> None:
        await self._end()
        self._told.clear()
        self._publish("status", ONLINE)
        self._watching = asyncio.create_task(self._watch())

    async def _end(self) -> None:
        watching, self._watching = self._watching, None
        if watching:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        """Publish all boards, then what changes."""
        async for view in self._boards.watch():
            try:
                self._show(view)
            except Exception:  # a fault with one board must not end the others
                LOG.exception("a board could not be published", extra={"board": view.board})

    async def _correct(self, board: str, payload: bytes) -> None:
        """Blank a board that the broker kept and we have no message for; what no board can be called is not ours."""
        if not re.fullmatch(NAME, board):
            return
        view = self._boards.view(board, blank=True)
        if view and view.message is None and _has_message(payload):
            self._show(view)

    def _show(self, view: BoardView) -> None:
        if view.board not in self._told:
            self._introduce(view.board)
            self._told.add(view.board)
        expiry = max(1, int(view.seconds_left)) if view.seconds_left is not None else None
        self._publish(f"{view.board}/message", view.model_dump_json(), expiry)
        self._publish(f"{view.board}/picture", self._picture(view), expiry)

    def _picture(self, view: BoardView) -> bytes:
        wanted = Wanted(profile_of(view.sign), view.lines == 0, self._settings.ai_mark)
        try:
            pages = pages_of(view, wanted)
        except NotDrawable:  # black; the view has the text
            pages = ()
        return encode(stacked(pages, wanted.profile), self._settings.look.rgb(100), ai_generated=bool(pages))

    def _introduce(self, board: str) -> None:
        """Tell Home Assistant of a board: one device with its text and its picture."""
        if not self._settings.publish_discovery:
            return
        for kind, told in self._entities(board).items():
            topic = f"{self._settings.publish_discovery}/{kind}/{self._id(board)}/config"
            self._client.publish(topic, json.dumps(told, ensure_ascii=False), retain=True)

    def _entities(self, board: str) -> dict[str, dict[str, Any]]:
        message, who = self._topic(f"{board}/message"), self._id(board)
        common = {
            "availability_topic": self._topic("status"),
            "device": {"identifiers": [who], "name": f"전광판 {board}", "manufacturer": "Signboard", "model": "board"},
            "origin": {"name": "Signboard", "sw_version": __version__},
        }
        text = {
            "name": "문구",
            "unique_id": f"{who}-text",
            "icon": "mdi:sign-text",
            "state_topic": message,
            # None is Home Assistant's "unknown": the board is blank.
            "value_template": "{{ value_json.message.generated_text if value_json.message else None }}",
            "json_attributes_topic": message,
            "json_attributes_template": "{{ (value_json.message or {}) | tojson }}",
            "expire_after": int(self._settings.max_age) + 1,  # should the blank view be lost
        }
        picture = {
            "name": "화면",
            "unique_id": f"{who}-picture",
            "image_topic": self._topic(f"{board}/picture"),
            "content_type": "image/png",
        }
        return {"sensor": text | common, "image": picture | common}

    def _id(self, board: str) -> str:
        return f"{self._settings.publish.replace('/', '_')}_{board}"

    def _topic(self, rest: str) -> str:
        return f"{self._settings.publish}/{rest}"

    def _publish(self, rest: str, payload: str | bytes, expiry: int | None = None) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho types its main module only
        if expiry is not None:
            properties.MessageExpiryInterval = expiry
        self._client.publish(self._topic(rest), payload, retain=True, properties=properties)


class PublisherMetrics(Collector):
    """Whether the broker takes the boards, where this gateway publishes them."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield GaugeMetricFamily(
            "signboard_publisher_connected", "1: the broker takes the boards.", self._publisher.connected
        )


@asynccontextmanager
async def publishing(settings: GatewaySettings, boards: Boards, metrics: Metrics) -> AsyncIterator[None]:
    """Publish the boards for the length of a block, if the settings say so."""
    broker = settings.parsed_broker
    if not settings.publish or not broker:
        yield
        return
    publisher = Publisher(settings, broker, boards)
    collector = PublisherMetrics(publisher)
    metrics.registry.register(collector)
    publisher.start()
    try:
        yield
    finally:
        metrics.registry.unregister(collector)
        await publisher.stop()


def _has_message(payload: bytes) -> bool:
    try:
        told = json.loads(payload)
    except ValueError:
        return True  # not ours: it is replaced
    return not isinstance(told, dict) or told.get("message") is not None

"""The boards at a real mosquitto: retained, blank when stale, and never an old message, whoever is killed."""

import io
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from paho.mqtt import publish
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from PIL import Image

from benchmarks.scripted_server import eventually, right_answer, scripted
from core.ports import free_port
from tests.service.test_gateway_process import gateway_process
from tests.support.broker import Mosquitto, mosquitto
from tests.support.gateway_server import running_gateway

PATIENCE = 30.0  # seconds for what happens in the background
CLOCK_SET_BACK = 1200.0  # seconds for a wall clock that was set back to arrive where it was


class Listener:
    """A player that speaks MQTT 5: the last message of each topic, and what the broker says of its expiry."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: dict[str, bytes] = {}
        self.expiry: dict[str, int | None] = {}
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.on_message = lambda _client, _data, message: self._hear(message)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def _hear(self, message: MQTTMessage) -> None:
        self.heard[message.topic] = bytes(message.payload)
        self.expiry[message.topic] = getattr(message.properties, "MessageExpiryInterval", None)

    def text(self, board: str = "main") -> str | None:
        """Return a board's text; None: it is blank. A board that was not heard of fails."""
        message = json.loads(self.heard[f"signboard/{board}/message"])["message"]
        return str(message["generated_text"]) if message else None

    def shows(self, text: str | None, board: str = "main") -> bool:
        return eventually(lambda: f"signboard/{board}/message" in self.heard and self.text(board) == text, PATIENCE)

    def is_lit(self, board: str) -> bool:
        """Return whether a board's picture was heard and has a lit dot."""
        picture = self.heard.get(f"signboard/{board}/picture")
        return bool(picture and Image.open(io.BytesIO(picture)).convert("L").getbbox())

    def status(self, wanted: bytes) -> bool:
        return eventually(lambda: self.heard.get("signboard/status") == wanted, PATIENCE)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(broker: Mosquitto) -> Iterator[Listener]:
    """Connect for the length of a `with` block."""
    listener = Listener(broker)
    try:
        yield listener
    finally:
        listener.close()


def show(url: str, today: int = 36, board: str = "main") -> str:
    body = {"yesterday_temp": 33, "today_temp": today, "board": board}
    answer = httpx.post(f"{url}/generate/temperature", json=body, trust_env=False, timeout=30)
    return str(answer.json()["generated_text"])


def settings(broker: Mosquitto, **more: Any) -> dict[str, Any]:
    return {"broker": broker.url, "publish": "signboard"} | more


def test_a_board_appears_at_the_broker_and_in_home_assistant(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, scripted(right_answer) as model, listening(broker) as early:
        with running_gateway(model.url, **settings(broker)) as client:
            assert early.status(b"online")
            text = show(str(client.base_url), board="lake")
            assert early.shows(text, "lake")
            with listening(broker) as late:  # what is retained
                assert late.shows(text, "lake")
                view = json.loads(late.heard["signboard/lake/message"])
                assert view["message"]["ai_generated"] is True
                assert 0 < (late.expiry["signboard/lake/message"] or 0) <= view["seconds_left"] <= 6 * 3600
                assert eventually(lambda: len(late.heard) == 5), sorted(late.heard)
                picture = Image.open(io.BytesIO(late.heard["signboard/lake/picture"]))
                assert picture.width == 160
                assert picture.height % 32 == 0
                assert picture.getbbox()
                sensor, image = (
                    json.loads(late.heard[f"homeassistant/{kind}/signboard_lake/config"])
                    for kind in ("sensor", "image")
                )
            assert sensor["state_topic"] == "signboard/lake/message"
            assert image["image_topic"] == "signboard/lake/picture"
            assert sensor["device"] == image["device"], "one device"
            assert sensor["unique_id"] != image["unique_id"]
            assert sensor["availability_topic"] == image["availability_topic"] == "signboard/status"
        assert early.status(b"offline")


def test_a_stale_message_is_blanked_and_is_not_kept(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as broker,
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(broker, max_age=2)) as client,
        listening(broker) as player,
    ):
        assert player.status(b"online")
        assert player.shows(show(str(client.base_url)))
        assert eventually(lambda: player.is_lit("main"))
        assert player.shows(None)
        assert eventually(lambda: not player.is_lit("main"))


def test_a_killed_gateways_message_expires_at_the_broker(tmp_path: Path) -> None:
    variables = {"PUBLISH": "signboard", "MAX_AGE": "10"}
    with mosquitto(tmp_path / "broker") as broker, scripted(right_answer) as model, listening(broker) as player:
        told = {f"SIGNBOARD_GATEWAY_{name}": value for name, value in variables.items()}
        with gateway_process(model.url, tmp_path / "log", SIGNBOARD_GATEWAY_BROKER=broker.url, **told) as (
            process,
            url,
        ):
            assert player.status(b"online")
            assert player.shows(show(url))
            shown = time.time()
            process.send_signal(signal.SIGKILL)
            assert player.status(b"offline"), "the broker says so for it"

        def newcomer_sees_a_message() -> bool:
            with listening(broker) as newcomer:
                assert newcomer.status(b"offline")
                has_text = "signboard/main/message" in newcomer.heard and newcomer.text() is not None
                return has_text or newcomer.is_lit("main")

        assert eventually(newcomer_sees_a_message)
        # The broker expires by the wall clock, and a virtual machine's may be set back while the others go on.
        assert eventually(lambda: time.time() > shown + 10, CLOCK_SET_BACK)
        assert eventually(lambda: not newcomer_sees_a_message(), PATIENCE)


def test_a_new_gateway_blanks_what_an_earlier_one_left(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path) as broker, scripted(right_answer) as model, listening(broker) as player:
        with running_gateway(model.url, port=port, **settings(broker)) as client:
            assert player.status(b"online")
            text = show(str(client.base_url))
            assert player.shows(text)
        assert player.status(b"offline")
        with running_gateway(model.url, port=port, **settings(broker)):
            assert player.status(b"online")
            assert player.shows(text), "it kept its message"
        with running_gateway(model.url, port=port, **settings(broker) | {"max_age": 0.1}):
            assert player.shows(None)


def test_a_new_gateway_leaves_alone_what_can_be_no_board(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, scripted(right_answer) as model, listening(broker) as player:
        for board in ("Lake", "lake"):
            kept = json.dumps({"message": {"generated_text": board}})
            publish.single(f"signboard/{board}/message", kept, 1, retain=True, port=broker.port)
        assert player.shows("Lake", "Lake")
        with running_gateway(model.url, **settings(broker)) as client:
            assert player.shows(None, "lake")
            assert player.shows(show(str(client.base_url)))  # after what the broker kept
            assert player.text("Lake") == "Lake"


def test_a_broker_that_comes_back_gets_every_board_as_it_is_then(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true\npersistence_file none.db") as broker,
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(broker)) as client,
        listening(broker) as player,
    ):
        assert player.status(b"online")
        assert player.shows(show(str(client.base_url)))
        broker.stop(signal.SIGKILL)
        text = show(str(client.base_url), 34)
        broker.start()
        assert player.shows(text)
        assert "signboard_publisher_connected 1.0" in client.get("/metrics").text

"""Keys and settings of the gateway."""

from pathlib import Path

import pytest

from core.errors import SettingError
from core.problem import Words
from gateway.app import create_app
from gateway.keys import KeyScope, find_key, new_key, parse_keys
from gateway.settings import GatewaySettings, read_gateway_settings
from gateway.state import open_database


def locked(*scopes: KeyScope) -> tuple[str, str]:
    return new_key("park", list(scopes))


def test_keys_are_stored_as_hashes_and_parsed_strictly() -> None:
    secret, line = locked(KeyScope.BOARD, KeyScope.OPENAI)
    assert secret not in line
    (key,) = parse_keys(line)
    assert find_key((key,), f"bearer {secret}") == key
    for wrong in ("", "Bearer", f"Bearer {secret} ", f"Basic {secret}", "Basic ====", f"Digest {secret}"):
        found = find_key((key,), wrong)
        assert found is (key if wrong == f"Bearer {secret} " else None)
    for text in ("park", f"{line} {line}", line.replace("board", "root"), line[:-1]):
        with pytest.raises(SettingError):
            parse_keys(text)


def test_a_gateway_open_to_a_network_without_keys_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="without a key"):
        open_database(read_gateway_settings(host="0.0.0.0"))
    open_database(read_gateway_settings(host="0.0.0.0", keys=locked(KeyScope.BOARD)[1])).close()
    with pytest.raises(SettingError, match="needs a PostgreSQL"):
        read_gateway_settings(gateways=2)
    for name, value in (
        ("SIGN", "big"),
        ("GATEWAY_TIMEZONE", "Mars"),
        ("GATEWAY_RATE_LIMIT", "often"),
        ("GATEWAY_WORDS", "some"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"SIGNBOARD_{name}", value)
            with pytest.raises(SettingError, match=name.removeprefix("GATEWAY_")):
                read_gateway_settings()


def test_parks_and_words_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    found = read_gateway_settings()
    assert (found.parks, found.park, found.words) == (Path("parks"), "default", Words.STRICT)
    for name, value in (("PARKS", "/etc/parks"), ("PARK", "lake"), ("WORDS", "open")):
        monkeypatch.setenv(f"SIGNBOARD_GATEWAY_{name}", value)
    found = read_gateway_settings()
    assert (found.parks, found.park, found.words) == (Path("/etc/parks"), "lake", Words.OPEN)


def test_a_brokers_address_and_password_are_read_and_never_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    assert read_gateway_settings().parsed_broker is None
    for name, value in (("BROKER", "mqtts://park.example"), ("BROKER_USER", "park"), ("BROKER_PASSWORD", "secret")):
        monkeypatch.setenv(f"SIGNBOARD_GATEWAY_{name}", value)
    settings = read_gateway_settings()
    broker = settings.parsed_broker
    assert broker
    assert (broker.host, broker.port, broker.tls, broker.user, broker.password) == (
        *("park.example", 8883, True),
        *("park", "secret"),
    )
    assert "secret" not in f"{settings!r} {broker!r}"
    for wrong in (
        "park.example",
        "http://park.example",
        "mqtt://u:secret@park.example",
        "mqtt://park.example:x",
        "mqtt://",
    ):
        monkeypatch.setenv("SIGNBOARD_GATEWAY_BROKER", wrong)
        with pytest.raises(SettingError, match="not a broker's address") as caught:
            read_gateway_settings()
        assert "secret" not in caught.value.what


def test_boards_are_published_only_with_a_broker() -> None:
    with pytest.raises(SettingError, match="needs a broker"):
        read_gateway_settings(publish="signboard")
    assert read_gateway_settings(publish="city/signboard", broker="mqtt://127.0.0.1").publish == "city/signboard"
    with pytest.raises(SettingError, match="PUBLISH"):
        read_gateway_settings(publish="signboard/#", broker="mqtt://127.0.0.1")


def test_a_gateway_without_the_ai_mark_warns(caplog: pytest.LogCaptureFixture) -> None:
    create_app(GatewaySettings(ai_mark=True))
    assert not caplog.records
    create_app(GatewaySettings(ai_mark=False))
    assert "AI" in caplog.text

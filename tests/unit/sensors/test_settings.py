"""The command line's settings are the gateway's: the same names, the same defaults, the same broker."""

from pathlib import Path

import pytest

from core.errors import SettingError
from gateway.settings import GatewaySettings
from sensors.settings import SensorSettings, read_sensor_settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env


@pytest.mark.parametrize("name", SensorSettings.model_fields)
def test_names_and_defaults_are_the_gateways(name: str) -> None:
    assert getattr(SensorSettings(), name) == getattr(GatewaySettings(), name)


def test_the_environment_and_env_count_and_options_override_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SIGNBOARD_GATEWAY_BROKER=mqtts://park\nSIGNBOARD_GATEWAY_BROKER_USER=signboard\n")
    monkeypatch.setenv("SIGNBOARD_GATEWAY_BROKER_PASSWORD", "secret")
    broker = read_sensor_settings().broker_as("me")
    assert (broker.host, broker.port, broker.tls, broker.client_id) == ("park", 8883, True, "me")
    assert (broker.user, broker.password) == ("signboard", "secret")
    assert read_sensor_settings(broker="mqtt://other").broker_as("me").host == "other"
    assert read_sensor_settings(broker=None).broker == "mqtts://park"


def test_without_a_broker_and_with_an_unusable_value_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError) as caught:
        read_sensor_settings().broker_as("me")
    assert "SIGNBOARD_GATEWAY_BROKER" in caught.value.todo
    monkeypatch.setenv("SIGNBOARD_GATEWAY_SENSOR_DAYS", "1")
    with pytest.raises(SettingError, match="SIGNBOARD_GATEWAY_SENSOR_DAYS"):
        read_sensor_settings()

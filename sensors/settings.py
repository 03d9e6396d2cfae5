"""What the sensors' command line shares with the gateway: its environment variables, or `.env`."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingError
from sensors.mqtt import Broker

PREFIX = "SIGNBOARD_GATEWAY_"


class SensorSettings(BaseSettings):
    """Broker, store and parks, under the gateway's names, so that both mean the same ones."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True)

    host: str = "127.0.0.1"  # the gateway's
    port: int = Field(default=8080, ge=1, le=65535)
    broker: str = ""
    broker_ca: Path | None = None
    broker_user: str | None = None
    broker_password: SecretStr | None = None
    sensor_store: str = "sqlite:///runs/sensors.db"
    sensor_days: int = Field(default=400, ge=3)
    parks: Path = Path("parks")
    timezone: str = "Asia/Seoul"

    def broker_as(self, client_id: str) -> Broker:
        """Return the broker for a client of this name; the gateway's own name would throw the gateway out.

        Raises:
            SettingError: no broker is set, or its address cannot be read.
        """
        if not self.broker:
            raise SettingError("No broker is set.", f"Give --broker mqtt://HOST:1883, or set {PREFIX}BROKER.")
        password = self.broker_password.get_secret_value() if self.broker_password else None
        return Broker.at(
            self.broker, ca_file=self.broker_ca, user=self.broker_user, password=password, client_id=client_id
        )


def read_sensor_settings(**given: Any) -> SensorSettings:
    """Read the settings; the options given here override them.

    Raises:
        SettingError: a variable has an unusable value.
    """
    try:
        return SensorSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        raise SettingError(f"A setting is unusable: {wrong}.", "docs/settings.md explains each.") from error

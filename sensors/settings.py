"""The settings that the sensors' command line and the gateway share: environment variables, or `.env`."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError

from core.errors import SettingError
from core.faults import in_variables
from database.settings import PREFIX, DatabaseSettings
from sensors.mqtt import Broker


class SensorSettings(DatabaseSettings):
    """Broker and parks, beside the database; `GatewaySettings` adds the rest, so both mean the same ones."""

    host: str = "127.0.0.1"  # the gateway's
    port: int = Field(default=8080, ge=1, le=65535)
    broker: str = ""  # mqtt://host:1883 or mqtts://host:8883; empty: sensors come over HTTP only
    broker_ca: Path | None = None  # the authority's certificate; empty: the system's authorities
    broker_user: str | None = None
    broker_password: SecretStr | None = None
    sensor_days: int = Field(default=400, ge=3)  # days for which observations are kept
    parks: Path = Path("parks")  # the folder with one YAML file for each park
    timezone: str = "Asia/Seoul"  # at its midnight "yesterday" changes, so every board goes blank

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
        wrong = in_variables(error.errors(), PREFIX)
        raise SettingError(f"A setting is unusable: {wrong}.", "docs/settings.md explains each.") from error

"""The settings that the signs' command line reads: the gateway's own, from the environment or `.env`."""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingError
from core.faults import in_variables
from core.sign import DEFAULT_SIGN, Sign


class SignSettings(BaseSettings):
    """Where the park files are, and what stands for what they leave out."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNBOARD_GATEWAY_", env_file=".env", extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    parks: Path = Path("parks")
    timezone: str = "Asia/Seoul"
    sign: str = Field(default=str(DEFAULT_SIGN), validation_alias="SIGNBOARD_SIGN")

    @property
    def parsed_sign(self) -> Sign:
        """The sign of parks that name none.

        Raises:
            SettingError: it cannot be read.
        """
        return Sign.parse(self.sign)


def read_sign_settings(**given: Any) -> SignSettings:
    """Read the settings; the options given here override them.

    Raises:
        SettingError: a variable has an unusable value.
    """
    try:
        return SignSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = in_variables(error.errors())
        raise SettingError(f"A setting is unusable: {wrong}.", "docs/settings.md explains each.") from error

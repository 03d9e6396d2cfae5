"""The gateway's settings: environment or `.env`, prefix SIGNBOARD_GATEWAY_ (except SIGNBOARD_SIGN)."""

import os
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from core.errors import SettingError
from core.faults import in_variables
from core.problem import Words
from core.prompt import prompt_name
from core.sign import Sign
from database.settings import PREFIX
from gateway.keys import Key, parse_keys
from gateway.look import Look, parse_colour, parse_night
from sensors.mqtt import Broker
from sensors.settings import SensorSettings

NAME = r"[a-z0-9][a-z0-9-]{0,39}"  # of a board, and of a park's file
LOOPBACK = ("127.0.0.1", "::1", "localhost")

# Limits that nobody needs to change; those that a site may change are settings below.
BATCH = 64  # readings in one batch
HISTORY = 50  # messages that a board remembers
WATCHERS = 1000  # open event streams
CONNECTIONS = 4096  # open connections, streams included
HEADER_BYTES = 16384  # of one request
PING_SECONDS = 3.0  # for the one-token request of probe and health; a hung ping delays the next one by this long


def known_timezone(name: str) -> str:
    """Return a time zone's name.

    Raises:
        ValueError: this machine does not know it.
    """
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {name!r} on this machine") from error


class GatewaySettings(SensorSettings):
    """The gateway's keys, model and limits, beside the address, broker, store and parks of the sensors' settings."""

    model_config = SettingsConfigDict(populate_by_name=True, allow_inf_nan=False)  # the rest is inherited

    model_url: str = "http://127.0.0.1:8000/v1"
    model_name: str = prompt_name()  # vLLM serves a checkpoint under the name of its prompt, beside the recipe's
    fingerprint: str | None = None  # of the prompt; None accepts the one that vLLM announces

    keys: str = ""  # name:scopes:sha256, separated by spaces; `python -m gateway key` makes one
    rate_limit: str = "3000/minute"  # per key
    body_limit: int = Field(default=65536, ge=1024)  # bytes
    cors_origins: str = ""  # separated by spaces; empty: none

    deadline: float = Field(default=10, gt=0)  # seconds from the request to its answer
    running: int = Field(default=32, ge=1)  # messages requested from the model concurrently
    waiting: int = Field(default=128, ge=0)  # requests that may wait for a slot; more are rejected immediately
    failures: int = Field(default=5, ge=1)  # model failures in a row that open the breaker
    probe_seconds: float = Field(default=1, gt=0)  # between probes of a model that is down
    health_seconds: float = Field(default=2, ge=0)  # for which a result of /health is cached

    park: str = "default"  # the park of requests that name none
    words: Words = Words.STRICT  # words that the catalogue does not have: strict rejects, open shows them
    sign: str = Field(default="20x2", validation_alias="SIGNBOARD_SIGN")
    max_age: float = Field(default=6 * 3600, gt=0)  # seconds until a message is stale
    boards: int = Field(default=1000, ge=1)  # boards to remember
    gateways: int = Field(default=1, ge=1)  # that share the database; more than one need a PostgreSQL
    audit_days: int = Field(default=365, ge=1)  # days for which the audit log is kept
    ai_mark: bool = True  # the page says that an AI wrote the message

    kiosk_colour: str = "ffb000"  # of lit dots on the kiosk page and in pictures: red, green, blue in hex
    kiosk_brightness: int = Field(default=100, ge=0, le=100)  # percent, by day
    kiosk_night: str = ""  # 22:00-06:00 in the park's time zone; empty: there is none
    kiosk_night_brightness: int = Field(default=30, ge=0, le=100)  # percent; 0: the sign is off at night

    publish: str = ""  # the boards' topics at the broker begin with it, such as signboard; empty: nothing is published
    publish_discovery: str = "homeassistant"  # where Home Assistant looks for devices; empty: it is told of none

    broker_client_id: str = Field(default="signboard", min_length=1, max_length=64)  # two gateways must differ
    look_seconds: float = Field(default=60, gt=0)  # between two comparisons of a park's yesterday and today
    message_gap: float = Field(default=600, ge=0)  # seconds between two messages that readings cause on one board
    renew_seconds: float = Field(default=3 * 3600, gt=0)  # after which a message is written anew for the same reading

    traces: str = ""  # the OTLP collector, such as http://10.0.0.7:4318/v1/traces; empty: nothing is traced
    backups: Path | None = None  # the folder of backups, whose newest file's age is a metric
    certificate: Path | None = None  # the certificate that callers see, the reverse proxy's; its end is a metric

    @field_validator("sign")
    @classmethod
    def _sign(cls, text: str) -> str:
        return str(Sign.parse(text))

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, name: str) -> str:
        return known_timezone(name)

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, text: str) -> str:
        from limits import parse

        parse(text)
        return text

    @field_validator("broker")
    @classmethod
    def _broker(cls, url: str) -> str:
        if url:
            Broker.at(url)
        return url

    @field_validator("kiosk_colour")
    @classmethod
    def _colour(cls, text: str) -> str:
        parse_colour(text)
        return text

    @field_validator("kiosk_night")
    @classmethod
    def _night(cls, text: str) -> str:
        if text:
            parse_night(text)
        return text

    @field_validator("publish", "publish_discovery")
    @classmethod
    def _topic(cls, text: str) -> str:
        if text and not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", text):
            raise ValueError("write levels of letters, digits, - and _, such as signboard or city/signboard")
        return text

    @property
    def look(self) -> Look:
        """The colour and brightness of signs that draw pictures."""
        return Look(
            parse_colour(self.kiosk_colour), self.kiosk_brightness, self.kiosk_night, self.kiosk_night_brightness
        )

    @property
    def parsed_broker(self) -> Broker | None:
        """The broker that brings observations; None: there is none."""
        return self.broker_as(self.broker_client_id) if self.broker else None

    @property
    def parsed_keys(self) -> tuple[Key, ...]:
        """The keys; without any, every caller that reaches the port is admitted."""
        return parse_keys(self.keys)

    @property
    def parsed_sign(self) -> Sign:
        """The sign that messages must fit."""
        return Sign.parse(self.sign)


def _named() -> set[str]:
    """Return the variables of the environment and of `.env` that begin as the gateway's do."""
    return {name.upper() for name in (*os.environ, *dotenv_values(".env")) if name.upper().startswith(PREFIX)}


def read_gateway_settings(**given: Any) -> GatewaySettings:
    """Read the settings; the options given here override them.

    Raises:
        SettingError: a variable has an unusable value.
    """
    if unknown := sorted(_named() - {f"{PREFIX}{name.upper()}" for name in GatewaySettings.model_fields}):
        raise SettingError(f"No setting has the name {', '.join(unknown)}.", "Compare .env with .env.example.")
    try:
        settings = GatewaySettings(**{key: value for key, value in given.items() if value is not None})
        settings.parsed_keys  # noqa: B018  # raises what is wrong with them
    except ValidationError as error:
        wrong = in_variables(error.errors())
        raise SettingError(
            f"The gateway's settings cannot be used: {wrong}.", "Compare .env with .env.example."
        ) from error
    if settings.gateways > 1 and settings.database.startswith("sqlite"):
        raise SettingError(
            "SIGNBOARD_GATEWAY_GATEWAYS needs a PostgreSQL.", "Set SIGNBOARD_GATEWAY_DATABASE=postgresql://…, or 1."
        )
    if settings.publish and not settings.broker:
        raise SettingError(
            "SIGNBOARD_GATEWAY_PUBLISH needs a broker.", "Set SIGNBOARD_GATEWAY_BROKER, such as mqtt://10.0.0.5:1883."
        )
    return settings

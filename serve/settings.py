"""Service settings from the environment or `.env`; command-line options override them.

The original system's keys (USE_FINETUNED, ADAPTER_PATH, USE_CHAT_FORMAT, QUANTIZATION) are read too: supported values
select the variant to serve; all others are rejected with the reason, never ignored.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingError
from core.faults import in_variables


class ServeSettings(BaseSettings):
    """The server's address, timeouts and variant."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNBOARD_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
        allow_inf_nan=False,
    )

    host: str = "127.0.0.1"  # loopback: vLLM never faces the outside
    port: int = Field(default=8000, ge=1, le=65535)
    start_timeout: float = Field(default=600, gt=0)  # seconds until the first real answer
    stop_timeout: float = Field(default=20, gt=0)  # seconds for a clean stop before the processes are killed

    servers: int = Field(default=1, ge=1, le=64)  # vLLM servers of `serve stack`: ports in a row, a GPU each
    router_host: str = "127.0.0.1"  # loopback: anybody who reaches the router may add and remove servers
    router_port: int = Field(default=30000, ge=1, le=65535)
    router_metrics_port: int = Field(default=29000, ge=1, le=65535)
    router_workers: str = ""  # the servers of `serve router`: addresses separated by spaces

    allow_failed_verdict: bool = False  # serve a 4-bit checkpoint that failed its verdict, or has none
    public_key: Path | None = None  # serve only what this key's owner signed; None: manifests alone are checked

    traces: str = ""  # where vLLM sends its spans, such as http://10.0.0.7:4318/v1/traces; empty: nowhere
    compiled: Path | None = None  # for what a CPU compiles, where the service may not write to runs/; None: the run's

    quantization: Literal["4bit", "8bit", "none"] = Field(default="4bit", validation_alias="QUANTIZATION")
    use_finetuned: bool = Field(default=True, validation_alias="USE_FINETUNED")
    adapter_path: Path | None = Field(default=None, validation_alias="ADAPTER_PATH")
    use_chat_format: bool = Field(default=True, validation_alias="USE_CHAT_FORMAT")


def read_settings(**given: Any) -> ServeSettings:
    """Read the settings; the options given here override them.

    Raises:
        SettingError: a variable has an unusable value.
    """
    try:
        return ServeSettings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = in_variables(error.errors())
        raise SettingError(f"The settings cannot be used: {wrong}.", "Compare .env with .env.example.") from error

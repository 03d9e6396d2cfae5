"""Service settings from the environment or `.env`; command-line options override them."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServeSettings(BaseSettings):
    """Where the server listens and how long it may take."""

    model_config = SettingsConfigDict(env_prefix="SIGNBOARD_", env_file=".env", extra="ignore")

    host: str = "127.0.0.1"  # loopback: vLLM never faces the outside
    port: int = Field(default=8000, ge=1, le=65535)
    start_timeout: float = Field(default=600, gt=0)  # seconds until the first real answer
    stop_timeout: float = Field(default=20, gt=0)  # seconds for a clean stop before the processes are killed

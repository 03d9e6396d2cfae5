"""Where the database is: an environment variable, or `.env`. The rooms above add their own settings."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SIGNBOARD_GATEWAY_"
DEFAULT_DATABASE = "sqlite:///runs/signboard.db"


class DatabaseSettings(BaseSettings):
    """The database of a gateway: observations, boards, keys and the audit log."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True)

    database: str = DEFAULT_DATABASE  # as SQLAlchemy writes it: sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME


def make_default_folder(url: str) -> None:
    """Make the default database's folder, so that the default works in a fresh checkout."""
    if url == DEFAULT_DATABASE:
        Path("runs").mkdir(exist_ok=True)

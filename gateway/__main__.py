"""Command line: `python -m gateway run | key | keys | revoke | audit | backup | restore | schema`."""

import getpass
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.command_line import exit_code_of, print_version
from core.problem import Words
from database.database import Database
from database.schema import head, migrate, version
from database.settings import make_default_folder
from gateway.audit import AuditLog
from gateway.backup import back_up, restore
from gateway.key_store import KeyStore
from gateway.keys import KeyScope, new_key
from gateway.settings import GatewaySettings, read_gateway_settings

# What is not a terminal is read by programs and kept in files: rows stay whole.
console = Console(width=None if sys.stdout.isatty() else 200)
EnvOption = Annotated[Path, typer.Option(help="The file with the settings.")]
DatabaseOption = Annotated[str | None, typer.Option(help="The database's URL (SIGNBOARD_GATEWAY_DATABASE).")]
app = typer.Typer(
    help="The service in front of vLLM: REST API, boards, keys and the board's page.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options_of_all(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept options before the subcommand."""


@app.command()
def run(
    host: Annotated[str | None, typer.Option(help="Address to listen on (SIGNBOARD_GATEWAY_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (SIGNBOARD_GATEWAY_PORT; 8080).")] = None,
    model_url: Annotated[
        str | None, typer.Option(help="vLLM's address, ending in /v1 (SIGNBOARD_GATEWAY_MODEL_URL).")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="The name under which vLLM serves the model (SIGNBOARD_GATEWAY_MODEL_NAME).")
    ] = None,
    words: Annotated[
        Words | None, typer.Option(help="Words that the catalogue does not have (SIGNBOARD_GATEWAY_WORDS; strict).")
    ] = None,
) -> None:
    """Run the gateway in front of a vLLM that runs elsewhere, until SIGTERM or Ctrl-C."""
    from gateway.server import run_gateway

    run_gateway(read_gateway_settings(host=host, port=port, model_url=model_url, model_name=model_name, words=words))


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="The owner's name: letters, digits, - and _.")],
    scope: Annotated[list[KeyScope] | None, typer.Option(help="The key's scopes; board by default.")] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Put its hash into the database: valid within seconds, and revocable.")
    ] = False,
    database: DatabaseOption = None,
) -> None:
    """Make an API key; print it once, with the line for SIGNBOARD_GATEWAY_KEYS, which holds only its hash."""
    secret, line = new_key(name, scope or [KeyScope.BOARD])
    if store:
        settings, opened = _opened(database)
        with opened:
            KeyStore(opened).add(line, settings.parsed_keys, _user(), datetime.now(UTC))
    print(f"key (shown once): {secret}" + ("" if store else f"\nSIGNBOARD_GATEWAY_KEYS: {line}"))


@app.command()
def keys(database: DatabaseOption = None) -> None:
    """List the keys of the database and of the settings, without their hashes."""
    settings, opened = _opened(database)
    table = Table("name", "scopes", "from", "added", "revoked")
    for fixed in settings.parsed_keys:
        table.add_row(fixed.name, "+".join(sorted(fixed.scopes)), "settings", "", "")
    with opened:
        for one in KeyStore(opened).all():
            table.add_row(
                one.key.name, "+".join(sorted(one.key.scopes)), "database", _time(one.added_at), _time(one.revoked_at)
            )
    console.print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name.")],
    database: DatabaseOption = None,
) -> None:
    """Revoke a key of the database: every gateway refuses it within seconds."""
    _, opened = _opened(database)
    with opened:
        KeyStore(opened).revoke(name, _user(), datetime.now(UTC))
    print(f"{name} is revoked")


@app.command()
def audit(
    days: Annotated[float, typer.Option(min=0, help="How far back.")] = 7,
    who: Annotated[str | None, typer.Option(help="Only this key's or user's entries.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this board's, key's or sign's entries.")] = None,
    database: DatabaseOption = None,
) -> None:
    """Show who changed what, and when; times are UTC."""
    _, opened = _opened(database)
    table = Table("at", "who", "what", "subject", "detail")
    with opened:
        for entry in AuditLog(opened).read(datetime.now(UTC) - timedelta(days=days), who, subject):
            table.add_row(_time(entry.at), entry.who, entry.what, entry.subject, entry.detail)
    console.print(table)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Holds the backups; a new folder is made in it.")],
    env: EnvOption = Path(".env"),
    checkpoint: Annotated[
        Path | None, typer.Option(help="Also copy this checkpoint, such as runs/kormo-10b/awq.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Delete the oldest backups beyond this number.")] = None,
    database: DatabaseOption = None,
) -> None:
    """Back up database, parks and settings while the gateway runs."""
    print(back_up(read_gateway_settings(database=database), folder, env, checkpoint, keep))


@app.command("restore")
def restore_command(
    folder: Annotated[Path, typer.Argument(help="One backup: signboard-….")],
    env: EnvOption = Path(".env"),
    database: DatabaseOption = None,
) -> None:
    """Restore a backup where there is no database yet; files that are there stay as they are."""
    for line in restore(read_gateway_settings(database=database), folder, env):
        print(line)


@app.command()
def schema(
    wanted: Annotated[
        str | None, typer.Argument(help="Bring the database to this version, up or down, with the gateway stopped.")
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Show the version of the database's schema, or change it before an older Signboard is installed."""
    _, opened = _opened(database)
    with opened:
        if wanted:
            migrate(opened.engine, wanted)
        with opened.reading() as connection:
            print(f"the database: {version(connection)}, this Signboard: {head()}")


def _opened(database: str | None) -> tuple[GatewaySettings, Database]:
    settings = read_gateway_settings(database=database)
    make_default_folder(settings.database)
    return settings, Database.open(settings.database)


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def _user() -> str:
    """Return who runs the command, for the audit log; not one that a key may be called."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "user:unknown"


if __name__ == "__main__":
    sys.exit(exit_code_of(app))

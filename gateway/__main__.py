"""Command line: `python -m gateway run | key`."""

import sys
from typing import Annotated

import typer

from core.command_line import exit_code_of, print_version
from core.problem import Words
from gateway.keys import KeyScope, new_key
from gateway.settings import read_gateway_settings

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
) -> None:
    """Make an API key; print it once, with the line for SIGNBOARD_GATEWAY_KEYS, which holds only its hash."""
    secret, line = new_key(name, scope or [KeyScope.BOARD])
    print(f"key (shown once): {secret}\nSIGNBOARD_GATEWAY_KEYS: {line}")


if __name__ == "__main__":
    sys.exit(exit_code_of(app))

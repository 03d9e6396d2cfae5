"""The serve room's door: `python -m serve` runs vLLM until Ctrl-C or SIGTERM, alone or with the gateway."""

import signal
from contextlib import ExitStack
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from data.artefact import read_manifest
from data.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, new_app, run
from data.errors import ServiceError
from data.recipe import Recipe, load_recipe
from serve.demo import show
from serve.gateway.keys import Scope, new_key
from serve.gateway.settings import read_gateway_settings
from serve.launch import Rung, prepare, wanted_rung
from serve.preflight import check_port
from serve.server import VllmServer
from serve.settings import ServeSettings, read_settings

app = new_app(
    "Serve the 4-bit checkpoint with vLLM as an OpenAI-compatible endpoint, model name `signboard`, until Ctrl-C.",
    no_args_is_help=False,
)


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (SIGNBOARD_HOST; loopback by default).")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (SIGNBOARD_PORT; 8000 by default).")] = None,
    rung: Annotated[
        Rung | None,
        typer.Option(help="What to serve; others than awq are for comparison (QUANTIZATION, USE_FINETUNED)."),
    ] = None,
    verify: Annotated[
        str, typer.Option(help="fast: sizes, chain, hashes of small files; full: every hash.", metavar="fast|full")
    ] = "fast",
    allow_failed_gate: Annotated[
        bool, typer.Option("--allow-failed-gate", help="Serve a 4-bit checkpoint that did not pass the gate.")
    ] = False,
    become: Annotated[
        bool, typer.Option("--exec", help="Become vLLM after the checks, log to stdout: for containers.")
    ] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Ask for eight messages, show them, stop.")] = False,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Put the gateway before vLLM: the REST API and the board's page.")
    ] = False,
) -> None:
    """Start vLLM, wait for a real answer, serve until stopped."""
    if context.invoked_subcommand:
        return
    if verify not in ("fast", "full"):
        raise typer.BadParameter("fast or full", param_hint="--verify")
    settings = read_settings(host=host, port=port, allow_failed_gate=allow_failed_gate or None)
    run_recipe = load_recipe(recipe, overrides or ())
    rung = rung or wanted_rung(settings, run_recipe)
    if become:
        ready, _, note = prepare(run_recipe, settings, rung, full=verify == "full")
        print(note, end="\n" if note else "", flush=True)
        ready.become()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if gateway:
            _serve_both(run_recipe, settings, rung, full=verify == "full")
        with ExitStack() as stack:
            server = _start(stack, run_recipe, settings, rung, full=verify == "full")
            console.print(f"[green]ready[/green] after {server.start_seconds:.0f} s: {server.url}")
            if demo:
                show(run_recipe, server)
                return
            code = server.wait()
            raise ServiceError(f"vLLM ended by itself with code {code}.", f"Look into {server.log}.")
    except KeyboardInterrupt:
        console.print("stopped")


@app.command("gateway")
def gateway_alone(
    host: Annotated[str | None, typer.Option(help="Address to listen on (SIGNBOARD_GATEWAY_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (SIGNBOARD_GATEWAY_PORT; 8080).")] = None,
    model_url: Annotated[
        str | None, typer.Option(help="vLLM's address, ending in /v1 (SIGNBOARD_GATEWAY_MODEL_URL).")
    ] = None,
) -> None:
    """Run the gateway alone, before a vLLM that runs elsewhere."""
    from serve.gateway.run import run_gateway

    run_gateway(read_gateway_settings(host=host, port=port, model_url=model_url))


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is: letters, digits, - and _.")],
    scope: Annotated[list[Scope] | None, typer.Option(help="What it opens; board by default.")] = None,
) -> None:
    """Make an API key; print it once, and the line for SIGNBOARD_GATEWAY_KEYS, which holds its hash alone."""
    secret, line = new_key(name, scope or [Scope.BOARD])
    print(f"key (shown once): {secret}\nSIGNBOARD_GATEWAY_KEYS: {line}")


def _serve_both(recipe: Recipe, settings: ServeSettings, rung: Rung, *, full: bool) -> None:
    """Run vLLM and the gateway until Ctrl-C."""
    from serve.stack import GatewayProcess, keep_serving

    wanted = read_gateway_settings()
    check_port(wanted.host, wanted.port)
    process = None

    def wait(_seconds: float, _line: str) -> None:
        if process is not None:
            process.keep()

    server, checkpoint, note = prepare(recipe, settings, rung, full=full, on_wait=wait)
    process = GatewayProcess(wanted, server.url, recipe.run / f"gateway-{wanted.port}.log")
    if note:
        console.print(f"[yellow]{note}[/yellow]")
    console.print(f"vLLM starts on {checkpoint}, log: {server.log}\ngateway: {process.url}, log: {process.log}")
    keep_serving(server, process, console.print)


def _start(stack: ExitStack, recipe: Recipe, settings: ServeSettings, rung: Rung, *, full: bool) -> VllmServer:
    with console.status("vLLM starts") as status:
        server, checkpoint, note = prepare(
            recipe,
            settings,
            rung,
            full=full,
            on_wait=lambda seconds, line: status.update(
                f"vLLM starts, {seconds:.0f} s  [dim]{escape(line[-100:])}[/dim]"
            ),
        )
        if settings.host not in ("127.0.0.1", "localhost"):
            console.print(
                f"[yellow]{settings.host} is not loopback: vLLM has no lock; put a gateway before it.[/yellow]"
            )
        if note:
            console.print(f"[yellow]{note}[/yellow]")
        console.print(f"vLLM starts on {checkpoint} (id {read_manifest(checkpoint).id[:12]}), log: {server.log}")
        return stack.enter_context(server)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run(app)

"""Command line: `python -m serve vllm | stack | exec | router`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from core.command_line import interrupt_on_sigterm
from core.errors import ServiceError
from core.ports import check_port
from core.prompt import prompt_name
from gateway.parks import Parks
from gateway.settings import GatewaySettings, read_gateway_settings
from gateway.state import open_database
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, new_app, run_app
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe, load_recipe
from serve.launch import Prepared, Variant, prepare, prepare_all, wanted_variant
from serve.process import ModelServer
from serve.router import Router, given_servers, health_path
from serve.settings import ServeSettings, read_settings
from serve.supervisor import GatewayProcess, Part, RouterProcess, supervise
from serve.weights import choose_weights

app = new_app("Serve a checkpoint with vLLM as an OpenAI-compatible endpoint, model name `signboard`.")


class Verify(StrEnum):
    """How thoroughly the checkpoint is checked before it is served."""

    FAST = "fast"
    FULL = "full"


HostOption = Annotated[str | None, typer.Option(help="Address to listen on (SIGNBOARD_HOST; loopback by default).")]
PortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of vLLM (SIGNBOARD_PORT; 8000 by default).")
]
VariantOption = Annotated[
    Variant | None,
    typer.Option(help="The variant to serve; all but awq are for comparison (QUANTIZATION, USE_FINETUNED)."),
]
VerifyOption = Annotated[Verify, typer.Option(help="fast: sizes, chain, hashes of small files; full: every hash.")]
ServersOption = Annotated[
    int | None,
    typer.Option(min=1, help="vLLM servers, on ports from --port up, behind vLLM's router (SIGNBOARD_SERVERS; 1)."),
]
RouterHostOption = Annotated[str | None, typer.Option("--host", help="Address to listen on (SIGNBOARD_ROUTER_HOST).")]
RouterPortOption = Annotated[
    int | None, typer.Option("--port", min=1, max=65535, help="Port (SIGNBOARD_ROUTER_PORT; 30000 by default).")
]
AllowOption = Annotated[
    bool,
    typer.Option("--allow-failed-verdict", help="Serve a 4-bit checkpoint that failed its verdict, or has none."),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line's request, read and checked."""

    recipe: Recipe
    settings: ServeSettings
    variant: Variant
    note: str  # why this one; empty: nothing to say
    full: bool  # hash everything before serving

    @classmethod
    def read(
        cls,
        recipe: Path,
        overrides: list[str] | None,
        host: str | None,
        port: int | None,
        variant: Variant | None,
        verify: Verify,
        allow_failed_verdict: bool,
        servers: int | None = 1,
    ) -> "Wanted":
        """Read recipe and settings; the options given here override them.

        The recipe may want to know first which weights are faster here: then both are served for a moment.
        """
        settings = read_settings(
            host=host, port=port, allow_failed_verdict=allow_failed_verdict or None, servers=servers
        )
        loaded = load_recipe(recipe, overrides or ())
        wanted, note = variant or wanted_variant(settings, loaded), ""
        if variant is None and wanted is Variant.AWQ:
            wanted, note = choose_weights(loaded, settings, console.print)
        return cls(loaded, settings, wanted, note.strip(), verify is Verify.FULL)


@app.command("vllm")
def vllm_command(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    host: HostOption = None,
    port: PortOption = None,
    variant: VariantOption = None,
    verify: VerifyOption = Verify.FAST,
    allow_failed_verdict: AllowOption = False,
) -> None:
    """Run vLLM alone until Ctrl-C or SIGTERM."""
    wanted = Wanted.read(recipe, overrides, host, port, variant, verify, allow_failed_verdict)
    with _until_stopped(), ExitStack() as stack:
        server = _start(stack, wanted)
        code = server.wait()
        raise ServiceError(f"vLLM ended by itself with code {code}.", f"See {server.log}.")


@app.command("exec")
def exec_command(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    host: HostOption = None,
    port: PortOption = None,
    variant: VariantOption = None,
    verify: VerifyOption = Verify.FAST,
    allow_failed_verdict: AllowOption = False,
) -> None:
    """Check everything, then replace this process with vLLM, which logs to stdout: for containers."""
    wanted = Wanted.read(recipe, overrides, host, port, variant, verify, allow_failed_verdict)
    ready = prepare(wanted.recipe, wanted.settings, wanted.variant, full=wanted.full)
    for note in filter(None, (wanted.note, ready.note)):
        print(note, flush=True)
    ready.server.become()


@app.command()
def stack(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    port: PortOption = None,
    variant: VariantOption = None,
    verify: VerifyOption = Verify.FAST,
    allow_failed_verdict: AllowOption = False,
    servers: ServersOption = None,
) -> None:
    """Run vLLM behind the gateway, which has the REST API and the board's page (SIGNBOARD_GATEWAY_…)."""
    wanted = Wanted.read(recipe, overrides, None, port, variant, verify, allow_failed_verdict, servers)
    settings = read_gateway_settings()
    check_port(settings.host, settings.port)
    # A wrong file is found now, not when vLLM has started.
    Parks(settings.parks, settings.park, settings.parsed_sign, settings.timezone)
    open_database(settings).close()
    ready = prepare_all(wanted.recipe, wanted.settings, wanted.variant, full=wanted.full)
    parts = _parts(wanted, settings, ready)
    _show_notes(wanted, ready[0])
    for one in ready:
        console.print(f"vLLM starts on {one.checkpoint}, log: {one.server.log}")
    for part in parts:
        console.print(f"{part.name}: {part.url}, log: {part.log}")
    with _until_stopped():
        supervise([one.server for one in ready], parts, console.print)


def _parts(wanted: Wanted, settings: GatewaySettings, ready: list[Prepared]) -> list[Part]:
    """Return what stands before vLLM: the gateway, and, before several servers, a router."""
    recipe, first = wanted.recipe, ready[0]
    asked = {"model_name": first.prompt} if first.prompt else {}
    serve = recipe.serve.model_copy(update=asked)
    log = recipe.folder / f"gateway-{settings.port}.log"
    if len(ready) == 1:
        return [GatewayProcess(settings, first.server.url, serve, log)]
    addresses = tuple(one.server.url.removesuffix("/v1") for one in ready)
    router = Router(addresses, health_path(first.prompt), settings.deadline, wanted.settings)
    router.check_ports()
    router_log = recipe.folder / f"router-{wanted.settings.router_port}.log"
    return [RouterProcess(router, router_log), GatewayProcess(settings, router.url, serve, log)]


@app.command("router")
def router_command(host: RouterHostOption = None, port: RouterPortOption = None) -> None:
    """Replace this process with vLLM's router before SIGNBOARD_ROUTER_WORKERS: for services and containers."""
    settings = read_settings(router_host=host, router_port=port)
    servers = given_servers(settings.router_workers)
    router = Router(servers, health_path(prompt_name()), read_gateway_settings().deadline, settings)
    router.check_ports()
    router.become()


def _start(stack: ExitStack, wanted: Wanted) -> ModelServer:
    with console.status("vLLM starts") as status:
        ready = prepare(
            wanted.recipe,
            wanted.settings,
            wanted.variant,
            full=wanted.full,
            on_wait=lambda seconds, line: status.update(
                f"vLLM starts, {seconds:.0f} s  [dim]{escape(line[-100:])}[/dim]"
            ),
        )
        host = wanted.settings.host
        if host not in ("127.0.0.1", "localhost"):
            console.print(f"[yellow]{host} is not loopback: vLLM has no access control; use the gateway.[/yellow]")
        _show_notes(wanted, ready)
        artefact = read_manifest(ready.checkpoint).id[:12]
        console.print(f"vLLM starts on {ready.checkpoint} (id {artefact}), log: {ready.server.log}")
        server = stack.enter_context(ready.server)
    console.print(f"[green]ready[/green] after {server.start_seconds:.0f} s: {server.url}")
    return server


def _show_notes(wanted: Wanted, ready: Prepared) -> None:
    for note in filter(None, (wanted.note, ready.note)):
        console.print(f"[yellow]{note}[/yellow]")


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does; both are a normal end."""
    interrupt_on_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped")


if __name__ == "__main__":
    run_app(app)

"""Command line: `python -m training fetch | import | sft | dpo | base`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, console, new_app, run_app, show_stage
from pipeline.recipe import load_recipe
from training.fetch import fetch
from training.stages import run_dpo, run_import, run_sft

app = new_app(
    "Import a base model and train the LoRA on it, by SFT and optionally DPO; or train the nano base from scratch."
)


@app.command("sft")
def sft_command(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    force: ForceOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a killed run with the same settings.")] = False,
) -> None:
    """Import the base if needed, then train: runs/<recipe>/base and runs/<recipe>/adapter."""
    settings = load_recipe(recipe, overrides or ())
    show_stage(settings.folder / "base", *run_import(settings))
    manifest, trained = run_sft(settings, force=force, resume=resume)
    show_stage(settings.folder / "adapter", manifest, trained)
    found = manifest.results
    console.print(
        f"  validation loss {found['validation_loss_before']} → {found['validation_loss']} ({found['steps']} steps)"
    )


@app.command("dpo")
def dpo_command(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False) -> None:
    """Train the adapter further on preference pairs: runs/<recipe>/dpo. Does nothing unless dpo.enabled is true."""
    settings = load_recipe(recipe, overrides or ())
    if not settings.dpo.enabled:
        console.print("[dim]dpo.enabled is false, skipped[/dim]")
        return
    manifest, trained = run_dpo(settings, force=force)
    show_stage(settings.folder / "dpo", manifest, trained)
    found = manifest.results
    console.print(
        f"  DPO loss {found['dpo_loss_before']} → {found['dpo_loss']}, "
        f"{found['reward_accuracy']:.0%} of held-out pairs ranked correctly ({found['steps']} steps)"
    )


@app.command("import")
def import_command(
    recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False
) -> None:
    """Write the recipe's base model in Llama layout: runs/<recipe>/base."""
    settings = load_recipe(recipe, overrides or ())
    show_stage(settings.folder / "base", *run_import(settings, force=force))


@app.command("fetch")
def fetch_command(name: Annotated[str, typer.Argument(help="A model of training/models.toml.")]) -> None:
    """Fetch a pre-trained base into models/, checked by hash. The only command that needs a network."""
    folder, new = fetch(name)
    console.print(f"[green]{folder}[/green] fetched" if new else f"[dim]{folder} is complete, skipped[/dim]")


@app.command("base")
def base_command(
    target: Annotated[Path, typer.Option(help="The checkpoint's folder.")] = Path("training/base/nano"),
    seed: Annotated[int, typer.Option(help="Seed of the corpus, the weights and the order.")] = 11,
    terse_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the first phase.")] = None,
    mixed_steps: Annotated[int | None, typer.Option(min=1, help="Steps of the second phase.")] = None,
    park_steps: Annotated[int | None, typer.Option(min=0, help="Steps on what a park has.")] = None,
    message_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the last phase, mostly on messages.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Go on with this checkpoint of the command, for the last two phases only.")
    ] = None,
) -> None:
    """Train the nano base from scratch and write it in KORMo layout with its model card."""
    from training.nano.export import make_base

    steps = {
        "terse_steps": terse_steps,
        "mixed_steps": mixed_steps,
        "park_steps": park_steps,
        "message_steps": message_steps,
    }
    make_base(target, seed, {key: value for key, value in steps.items() if value is not None}, start)


if __name__ == "__main__":
    run_app(app)

"""Command line: `python -m pipeline verify runs/nano/awq`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import new_app, run_app, show_table
from pipeline.manifest import verify

app = new_app("Verify artefacts, here or wherever they were copied.")


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="An artefact's folder, e.g. runs/kormo-10b/awq, or a copy of it.")],
    fast: Annotated[bool, typer.Option("--fast", help="Hash only the ends of large files.")] = False,
) -> None:
    """Verify every file's hash, and the chain of manifests behind the artefact."""
    manifest = verify(folder, full=not fast)
    rows = [[link.stage, link.id[:16], link.recipe, link.created] for link in (*manifest.ancestors.values(), manifest)]
    show_table(f"{folder}: {len(manifest.files)} unchanged files", [["stage", "id", "recipe", "made"], *rows])


if __name__ == "__main__":
    run_app(app)

"""Command line: `python -m pipeline verify runs/nano/awq`."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import new_app, run_app, show_table
from pipeline.manifest import verify
from pipeline.signature import check_signature

app = new_app("Verify artefacts, here or wherever they were copied.")


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="An artefact's folder, e.g. runs/kormo-10b/awq, or a copy of it.")],
    fast: Annotated[bool, typer.Option("--fast", help="Hash only the ends of large files.")] = False,
    public_key: Annotated[
        Path | None, typer.Option(help="Check the artefact's signature, too: the public key of whoever signed it.")
    ] = None,
) -> None:
    """Verify every file's hash, and the chain of manifests behind the artefact."""
    manifest = verify(folder, full=not fast)
    if public_key:
        check_signature(folder, public_key)
    rows = [[link.stage, link.id[:16], link.recipe, link.created] for link in (*manifest.ancestors.values(), manifest)]
    signed = f", signed by the owner of {public_key}" if public_key else ""
    show_table(f"{folder}: {len(manifest.files)} unchanged files{signed}", [["stage", "id", "recipe", "made"], *rows])


if __name__ == "__main__":
    run_app(app)

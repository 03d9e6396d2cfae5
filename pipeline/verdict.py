"""The verdict on a 4-bit checkpoint, as `python -m evaluation verdict` writes it and `python -m serve` reads it."""

import json
from pathlib import Path

from core.errors import ArtefactError, VerdictError
from pipeline.manifest import read_manifest, verify

VERDICT = "verdict.json"


def check_verdict(run: Path) -> None:
    """Check that the 4-bit checkpoint of a run passed its verdict.

    Raises:
        VerdictError: the checkpoint failed, or has no verdict.
        ArtefactError: the verdict was altered.
    """
    todo = "Run `make merge`, or serve it anyway with --allow-failed-verdict (SIGNBOARD_ALLOW_FAILED_VERDICT=true)."
    awq, folder = run / "awq", run / "verdict"
    if not folder.is_dir():
        raise VerdictError(f"{awq} has no verdict.", todo)
    if verify(folder).inputs.get("awq") != read_manifest(awq).id:
        raise VerdictError(f"The verdict in {folder} is about another checkpoint than {awq}.", todo)
    try:
        passed = json.loads((folder / VERDICT).read_text(encoding="utf-8"))["passed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{folder / VERDICT} cannot be read.", todo) from error
    if passed is not True:
        raise VerdictError(f"{awq} failed its verdict; {folder / VERDICT} has the reasons.", todo)

"""The gate's verdict, as `python -m clients evaluate --gate` writes it and `python -m serve` reads it."""

import json
from pathlib import Path

from data.artefact import read_manifest, verify
from data.errors import ArtefactError, GateError

VERDICT = "verdict.json"


def check_gate(run: Path) -> None:
    """Check that the 4-bit checkpoint of a run passed the gate.

    Raises:
        GateError: it did not, or was never asked.
        ArtefactError: the verdict was altered.
    """
    todo = "Run `make merge`, or serve it as it is with --allow-failed-gate (SIGNBOARD_ALLOW_FAILED_GATE=true)."
    awq, gate = run / "awq", run / "gate"
    if not gate.is_dir():
        raise GateError(f"{awq} has not been through the gate.", todo)
    if verify(gate).inputs.get("awq") != read_manifest(awq).id:
        raise GateError(f"The verdict in {gate} is about another checkpoint than {awq}.", todo)
    try:
        passed = json.loads((gate / VERDICT).read_text(encoding="utf-8"))["passed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{gate / VERDICT} cannot be read.", todo) from error
    if passed is not True:
        raise GateError(f"{awq} did not pass the gate; {gate / VERDICT} says why.", todo)

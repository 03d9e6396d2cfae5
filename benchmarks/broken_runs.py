"""Break a run on purpose, behind the back of the checks that would refuse it, and see that the gate still catches it.

Usage: python -m benchmarks.broken_runs [NAME…] [--recipe recipes/nano.yaml]
Names: template, stop, calibration, labels. In: a finished line of the recipe. Out: a table with what refused the run
before the gate, and what the gate said of it. Exit code 1 if one gets through. Not run by `make test`.
"""

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from clients.evaluation.gate import pass_gate
from data.artefact import MADE_FROM, run_stage, write_text
from data.build import build
from data.cli import DEFAULT_RECIPE, console, run, show_table
from data.corpus import Row, Split, training_sets
from data.errors import GateError, SignboardError
from data.recipe import Recipe, load_recipe
from merge.stages import merge, quantize_merged
from training.stages import import_base, train

# The kind of text that the original trained on before it found out.
INSTRUCTION_STYLE = (
    "{% for message in messages %}### {{ message['role'] }}:\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="template, stop, calibration, labels; all by default.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="The line that is broken.")] = DEFAULT_RECIPE,
) -> None:
    """Break, judge, print."""
    rows = [["broken", "refused before the gate by", "what the gate said"]]
    through = []
    for name in names or BREAKS:
        broken, options = _named(recipe, f"broken-{name}")
        earlier = BREAKS[name](load_recipe(recipe), broken)
        try:
            pass_gate(broken, options, force=True)
            verdict = "nothing"
            through.append(name)
        except GateError as error:
            verdict = error.what
        console.print(f"{name}: {verdict}")
        rows.append([name, earlier, verdict])
    show_table("Broken runs", rows)
    if through:
        raise SignboardError(f"{', '.join(through)} got through the gate.", "Raise the recipe's thresholds.")


def wrong_template(source: Recipe, broken: Recipe) -> str:
    """Ship another chat template than the model was trained with."""
    _borrow(source, broken, "data", "base", "adapter", "merged")

    def fill(folder: Path) -> dict[str, Any]:
        shutil.copytree(source.run / "awq", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        write_text(folder / "chat_template.jinja", INSTRUCTION_STYLE)
        return {"loss_ratio": 1.0}

    template = broken.run / "merged" / "chat_template.jinja"
    kept = template.read_text(encoding="utf-8")
    template.write_text(INSTRUCTION_STYLE, encoding="utf-8")
    earlier = _refused(lambda: quantize_merged(broken, force=True))
    template.write_text(kept, encoding="utf-8")
    inputs = {name: broken.run / name for name in MADE_FROM["awq"]}
    settings = broken.quantize.model_dump(mode="json")
    run_stage(broken.run / "awq", recipe=broken.name, settings=settings, inputs=inputs, build=fill, force=True)
    return earlier


def untrained_stop(source: Recipe, broken: Recipe) -> str:
    """Train on a base that never learned its end-of-turn marker, as new markers are, and leave it out of the labels."""
    from training import sft

    _borrow(source, broken, "data")
    _base_without_stop(source, broken)
    learned = sft._end_with_turn

    def forget(row: dict[str, list[int]], end: int) -> dict[str, list[int]]:
        kept = learned(row, end)
        return kept | {"labels": [*kept["labels"][:-1], -100]}

    with patch.object(sft, "_end_with_turn", forget):
        earlier = _refused(lambda: train(broken, force=True))
        with patch.object(sft, "prove_labels"):
            train(broken, force=True)
    _finish(broken)
    return earlier


def _base_without_stop(source: Recipe, broken: Recipe) -> None:
    """Publish the base with the padding token's rows for the marker's: no answer ever ended with that one."""
    from safetensors.torch import load_file, save_file

    from training.tokens import load_tokenizer

    def fill(folder: Path) -> dict[str, Any]:
        shutil.copytree(source.run / "base", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        tensors = load_file(folder / "model.safetensors")
        tokenizer = load_tokenizer(folder)
        for rows in (tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]):
            rows[tokenizer.eos_token_id] = rows[tokenizer.pad_token_id].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return {}

    run_stage(broken.run / "base", recipe=broken.name, settings={"stop": "none"}, inputs={}, build=fill, force=True)


def english_calibration(source: Recipe, broken: Recipe) -> str:
    """Calibrate the quantization on an English text."""
    _borrow(source, broken, "data", "base", "adapter", "merged")
    earlier = _refused(lambda: quantize_merged(broken, force=True))
    with patch("merge.stages.refuse_lossy"):
        quantize_merged(broken, force=True)
    return earlier


def shuffled_labels(source: Recipe, broken: Recipe) -> str:
    """Train every reading on another one's message."""

    def shuffled(*arguments: Any) -> dict[Split, list[Row]]:
        sets = training_sets(*arguments)
        rows = sets["train"]
        messages = random.Random(1).sample([row.message for row in rows], len(rows))
        return sets | {"train": [Row(row.reading, text) for row, text in zip(rows, messages, strict=True)]}

    with ExitStack() as stack:
        stack.enter_context(patch("data.build.training_sets", shuffled))
        earlier = _refused(lambda: build(broken, force=True))
        stack.enter_context(patch("data.build.examine", lambda _: len(source.name)))
        build(broken, force=True)
    import_base(broken)
    train(broken, force=True)
    _finish(broken)
    return earlier


BREAKS: dict[str, Callable[[Recipe, Recipe], str]] = {
    "template": wrong_template,
    "stop": untrained_stop,
    "calibration": english_calibration,
    "labels": shuffled_labels,
}


def _named(path: Path, name: str) -> tuple[Recipe, list[str]]:
    overrides = [f"name={name}", *(["quantize.calibration_text=LICENSE"] if name.endswith("calibration") else [])]
    return load_recipe(path, overrides), [f"--recipe={path}", *(f"--set={override}" for override in overrides)]


def _borrow(source: Recipe, broken: Recipe, *stages: str) -> None:
    for stage in stages:
        shutil.rmtree(broken.run / stage, ignore_errors=True)
        shutil.copytree(source.run / stage, broken.run / stage)


def _finish(broken: Recipe) -> None:
    with patch("merge.stages.refuse_lossy"):
        merge(broken, force=True)
        quantize_merged(broken, force=True)


def _refused(step: Callable[[], Any]) -> str:
    """Return what refuses a step that goes by the rules."""
    try:
        step()
    except SignboardError as error:
        return f"{type(error).__name__}: {error.what.splitlines()[0]}"
    return "nothing"


if __name__ == "__main__":
    run(lambda: typer.run(main))

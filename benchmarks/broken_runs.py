"""Break a run on purpose, bypass the checks that would reject it, and show that the verdict still catches it.

Usage: python -m benchmarks.broken_runs [NAME…] [--recipe recipes/nano.yaml]
Names: template, stop, calibration, labels. In: a finished run of the recipe. Out: a table with the check that rejects
the run before the verdict, and the verdict. Exit code 1 if a broken run passes. Not run by `make test`.
"""

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import typer

from core.errors import SignboardError, VerdictError
from data.build import build_data
from data.sets import Example, Split, sets_of
from evaluation.verdict import run_verdict
from merge.stages import run_fold, run_quantize
from pipeline.cli import DEFAULT_RECIPE, console, run_app, show_table
from pipeline.files import write_text
from pipeline.graph import MADE_FROM
from pipeline.recipe import Recipe, load_recipe
from pipeline.stage import run_stage
from training.stages import run_import, run_sft

# The kind of text that the original trained on before it noticed its mistake.
INSTRUCTION_STYLE = (
    "{% for message in messages %}### {{ message['role'] }}:\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="template, stop, calibration, labels; all by default.")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="The run to break.")] = DEFAULT_RECIPE,
) -> None:
    """Break, judge, print."""
    rows = [["broken", "rejected before the verdict by", "verdict"]]
    through = []
    for name in names or BREAKS:
        broken = _named(recipe, f"broken-{name}")
        earlier = BREAKS[name](load_recipe(recipe), broken)
        try:
            run_verdict(broken, force=True)
            verdict = "nothing"
            through.append(name)
        except VerdictError as error:
            verdict = error.what
        console.print(f"{name}: {verdict}")
        rows.append([name, earlier, verdict])
    show_table("Broken runs", rows)
    if through:
        raise SignboardError(f"{', '.join(through)} passed the verdict.", "Raise the recipe's thresholds.")


def wrong_template(source: Recipe, broken: Recipe) -> str:
    """Ship another chat template than the model was trained with."""
    _borrow(source, broken, "data", "base", "adapter", "merged")

    def fill(folder: Path) -> dict[str, Any]:
        shutil.copytree(
            source.folder / "awq", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json")
        )
        write_text(folder / "chat_template.jinja", INSTRUCTION_STYLE)
        return {"loss_ratio": 1.0}

    template = broken.folder / "merged" / "chat_template.jinja"
    kept = template.read_text(encoding="utf-8")
    template.write_text(INSTRUCTION_STYLE, encoding="utf-8")
    earlier = _refused(lambda: run_quantize(broken, force=True))
    template.write_text(kept, encoding="utf-8")
    inputs = {name: broken.folder / name for name in MADE_FROM["awq"]}
    settings = broken.quantize.model_dump(mode="json")
    run_stage(
        broken.folder / "awq", format=1, recipe=broken.name, settings=settings, inputs=inputs, build=fill, force=True
    )
    return earlier


def untrained_stop(source: Recipe, broken: Recipe) -> str:
    """Train on a base that, as with new markers, never learned its end-of-turn marker; leave that out of the labels."""
    from training import sft

    _borrow(source, broken, "data")
    _base_without_stop(source, broken)
    learned = sft._end_with_turn

    def forget(row: dict[str, list[int]], end: int) -> dict[str, list[int]]:
        kept = learned(row, end)
        return kept | {"labels": [*kept["labels"][:-1], -100]}

    with patch.object(sft, "_end_with_turn", forget):
        earlier = _refused(lambda: run_sft(broken, force=True))
        with patch.object(sft, "prove_labels"):
            run_sft(broken, force=True)
    _finish(broken)
    return earlier


def _base_without_stop(source: Recipe, broken: Recipe) -> None:
    """Publish the base with the padding token's rows in place of the marker's: no answer ever ended with padding."""
    from safetensors.torch import load_file, save_file

    from training.tokenization import load_tokenizer

    def fill(folder: Path) -> dict[str, Any]:
        shutil.copytree(
            source.folder / "base", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json")
        )
        tensors = load_file(folder / "model.safetensors")
        tokenizer = load_tokenizer(folder)
        for rows in (tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]):
            rows[tokenizer.eos_token_id] = rows[tokenizer.pad_token_id].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return {}

    run_stage(
        broken.folder / "base",
        format=1,
        recipe=broken.name,
        settings={"stop": "none"},
        inputs={},
        build=fill,
        force=True,
    )


def english_calibration(source: Recipe, broken: Recipe) -> str:
    """Calibrate the quantization on an English text."""
    _borrow(source, broken, "data", "base", "adapter", "merged")
    earlier = _refused(lambda: run_quantize(broken, force=True))
    with patch("merge.stages.refuse_lossy"):
        run_quantize(broken, force=True)
    return earlier


def shuffled_labels(source: Recipe, broken: Recipe) -> str:
    """Train every reading on another reading's message."""

    def shuffled(recipe: Recipe) -> dict[Split, list[Example]]:
        sets = sets_of(recipe)
        rows = sets["train"]
        messages = random.Random(1).sample([row.message for row in rows], len(rows))
        return sets | {
            "train": [Example(row.reading, row.scene, text) for row, text in zip(rows, messages, strict=True)]
        }

    with ExitStack() as stack:
        stack.enter_context(patch("data.build.sets_of", shuffled))
        earlier = _refused(lambda: build_data(broken, force=True))
        stack.enter_context(patch("data.build.examine", lambda _: len(source.name)))
        build_data(broken, force=True)
    run_import(broken)
    run_sft(broken, force=True)
    _finish(broken)
    return earlier


BREAKS: dict[str, Callable[[Recipe, Recipe], str]] = {
    "template": wrong_template,
    "stop": untrained_stop,
    "calibration": english_calibration,
    "labels": shuffled_labels,
}


def _named(path: Path, name: str) -> Recipe:
    overrides = [f"name={name}", *(["quantize.calibration_text=LICENSE"] if name.endswith("calibration") else [])]
    return load_recipe(path, overrides)


def _borrow(source: Recipe, broken: Recipe, *stages: str) -> None:
    for stage in stages:
        shutil.rmtree(broken.folder / stage, ignore_errors=True)
        shutil.copytree(source.folder / stage, broken.folder / stage)


def _publish(
    broken: Recipe,
    stage: str,
    settings: dict[str, Any],
    inputs: dict[str, Path],
    fill: Callable[[Path], dict[str, Any]],
) -> None:
    run_stage(
        broken.folder / stage,
        format=1,
        recipe=broken.name,
        settings=settings,
        inputs=inputs,
        build=fill,
        force=True,
    )


def _copy(artefact: Path, folder: Path) -> None:
    shutil.copytree(artefact, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))


def _finish(broken: Recipe) -> None:
    with patch("merge.stages.refuse_lossy"):
        run_fold(broken, force=True)
        run_quantize(broken, force=True)


def _refused(step: Callable[[], Any]) -> str:
    """Return the error that rejects a step when its checks are in place."""
    try:
        step()
    except SignboardError as error:
        return f"{type(error).__name__}: {error.what.splitlines()[0]}"
    return "nothing"


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

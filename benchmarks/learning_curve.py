"""When are the numbers right, and the sentences? A curve over rows and minutes while the adapter stage trains.

Usage: python -m benchmarks.learning_curve --recipe recipes/smollm2-135m.yaml [--set KEY=VALUE] [--points 20]
In: a recipe. Out: the recipe's adapter stage, built again, and runs/<recipe>/curve/ with curve.json and curve.png. Not
run by `make test`.

Measured on the 38 held-out readings and on 62 that are trained on: does the model put the right number where the answer
to a bare question, and the beginning of a message, has one? The text before the number is given. And does it go on
from a first sentence with a second one that fits the reading?
"""

import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import TrainerCallback

from core.prompt import build_messages
from core.reading import Reading, usual_grid
from data.build import build_data
from data.compose import advices_for, openings_for
from data.lessons import bare_lesson, beginning_lesson, going_on, told_apart
from data.sets import held_out_readings
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, run_app
from pipeline.recipe import Recipe, load_recipe
from training.packing import pack
from training.sft import collator
from training.stages import run_import, run_sft
from training.tokenization import lesson_ids, load_tokenizer

SEEN = 62  # readings of the training set
SIZE = 640  # tokens of a sequence
WORDS = 32  # tokens, enough to tell a second sentence from the others
AT_ONCE = 8  # second sentences, so that asking takes less memory than training


@dataclass(frozen=True)
class Point:
    """One measurement."""

    step: int
    rows: int  # learned so far, lessons included
    minutes: float  # of training, measurements left out
    right: dict[str, float]  # share of right numbers, and of second sentences that fit


class Watch(TrainerCallback):
    """Measure the share of right numbers at so many points of a training."""

    def __init__(self, recipe: Recipe, points: int) -> None:
        self.points: list[Point] = []
        self._wanted, self._choices = points, recipe.data.choices
        # a sentence near the end of its range fits too, though it is not taught there
        self._fitting_ones = self._choices.model_copy(update={"margin": 0})
        self._tokenizer = load_tokenizer(recipe.folder / "base")
        self._collate = collator(recipe, self._tokenizer)
        held_out = held_out_readings()
        seen = random.Random(0).sample([one for one in usual_grid() if one not in held_out], SEEN)
        self._readings = {"held out": sorted(held_out, key=str), "trained": sorted(seen, key=str)}
        self._started, self._measuring = 0.0, 0.0
        self._rows: list[int] = []

    def on_train_begin(self, args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Start the clock; learn how many rows each sequence has."""
        branches = given["train_dataloader"].dataset["branches"]
        self._rows = [len(rows) for rows in branches]
        self._started = time.monotonic()
        self._measure(state, args, given["model"])

    def on_step_end(self, args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Measure, if it is time."""
        every = max(1, state.max_steps // self._wanted)
        if state.global_step % every == 0 or state.global_step == state.max_steps:
            self._measure(state, args, given["model"])

    def _measure(self, state: Any, args: Any, model: Any) -> None:
        begin = time.monotonic()
        minutes = (begin - self._started - self._measuring) / 60
        per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps
        model.eval()
        right = {
            f"{kind}, {name}": self._share(model, readings, kind)
            for name, readings in self._readings.items()
            for kind in ("bare", "message")
        }
        right |= {f"sentence, {name}": self._fitting(model, readings) for name, readings in self._readings.items()}
        model.train()
        self.points.append(Point(state.global_step, sum(self._rows[: state.global_step * per_step]), minutes, right))
        console.print(f"  {minutes:.1f} min, {self.points[-1].rows} rows: {right}")
        self._measuring += time.monotonic() - begin

    def _share(self, model: Any, readings: list[Reading], kind: str) -> float:
        wordings = random.Random(0)
        made = [
            bare_lesson(one) if kind == "bare" else beginning_lesson(one, wordings, self._choices)
            for one in readings
            if one.change
        ]
        rows = [lesson_ids(self._tokenizer, lesson.as_conversation()) for lesson in made]
        found = [right for sequence in pack(rows, SIZE) for right in self._numbers(model, asdict(sequence))]
        return sum(found) / len(found)

    def _fitting(self, model: Any, readings: list[Reading]) -> float:
        """Return the share of readings for which the likeliest second sentence begins like one that fits."""
        rng = random.Random(0)
        firsts = [rng.choice(openings_for(one, None, self._choices)).about(one) for one in readings]
        asked = [going_on(one, build_messages(one), first, "") for one, first in zip(readings, firsts, strict=True)]
        ids = [lesson_ids(self._tokenizer, lesson.as_conversation())[0] for lesson in asked]
        texts = [
            text for start in range(0, len(ids), AT_ONCE) for text in self._go_on(model, ids[start : start + AT_ONCE])
        ]
        return sum(map(self._fits, readings, texts)) / len(readings)

    def _go_on(self, model: Any, ids: list[list[int]]) -> list[str]:
        batch = self._tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
        found = model.generate(**batch, max_new_tokens=WORDS, do_sample=False)
        return self._tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    def _fits(self, reading: Reading, text: str) -> bool:
        starts = {told_apart(advice, self._choices) for advice in advices_for(reading, None, self._fitting_ones)}
        return any(f"{text} ".startswith(f" {start} ") for start in starts)

    @torch.no_grad()
    def _numbers(self, model: Any, sequence: dict[str, Any]) -> list[bool]:
        """Return for each row whether its number is the model's first choice, the end of the number included."""
        batch = self._collate([sequence])
        labels = batch.pop("labels")[0]
        chosen = torch.cat([labels[:1], model(**batch).logits[0, :-1].argmax(-1)])
        ends = torch.tensor([length - shared for shared, length in sequence["branches"]]).cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        return [self._right(labels[a:b].tolist(), chosen[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]

    def _right(self, labels: list[int], chosen: list[int]) -> bool:
        digits = [
            place for place, token in enumerate(labels) if token >= 0 and self._tokenizer.decode([token]).isdigit()
        ]
        places = range(digits[0], digits[-1] + 2)
        return all(labels[place] == chosen[place] for place in places)


def main(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    points: Annotated[int, typer.Option(min=1, help="Measurements.")] = 20,
) -> None:
    """Train and draw."""
    settings = load_recipe(recipe, overrides or ())
    build_data(settings)
    run_import(settings)
    folder = settings.folder / "curve"
    folder.mkdir(exist_ok=True)
    watch = Watch(settings, points)
    results = run_sft(settings, watch, force=True)[0].results
    (folder / "curve.json").write_text(json.dumps([asdict(point) for point in watch.points], indent=1))
    draw(watch.points, folder / "curve.png", settings.name)
    console.print(results)


def draw(points: list[Point], path: Path, title: str) -> None:
    """Draw the shares over minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    minutes = [point.minutes for point in points]
    for name in points[0].right:
        axes.plot(minutes, [100 * point.right[name] for point in points], label=name, linewidth=1.2)
    axes.set(xlabel="minutes of training", ylabel="right, %", title=title, ylim=(0, 100))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

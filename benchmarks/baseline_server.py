"""The original's server, built fairly: FastAPI and transformers' `generate`, one message at a time, cut at the marker.

Usage: python -m benchmarks.baseline_server --port 8090 [--quantization 4bit] [--stop] [--merged]
In: a finished run. `--stop` and `--merged` add the first two of our ideas, to show each one's gain.
The prompt, the sampling and the adapter are ours; the limit of 50 tokens for a message is the original's, raised for
a tokenizer that needs more.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import torch
import typer
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedTokenizerBase

from benchmarks.scene import SCENE
from core.prompt import STOP_MARKERS, build_messages
from core.reading import Reading
from pipeline.budget import read_budget
from pipeline.cli import RecipeOption, SetOption, run_app
from pipeline.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from training.tokenization import load_tokenizer, prompt_ids

MAX_NEW_TOKENS = 50


class Wanted(BaseModel):
    """The original's request."""

    yesterday_temp: float
    today_temp: float
    temperature: float | None = None


class Written(BaseModel):
    """The original's answer."""

    generated_text: str
    generation_time: float


class Writer:
    """Writes one message at a time.

    Args:
        model: the base with its adapter, or the merged model.
        tokenizer: the tokenizer with the template of training.
        recipe: gives the sampling settings.
        stop: stop at the end-of-turn token; else write as many tokens as the limit says and cut the text.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, *, stop: bool) -> None:
        self._model, self._tokenizer, self._sampling = model, tokenizer, recipe.generation
        self._end = tokenizer.eos_token_id if stop else None
        self._limit = max(MAX_NEW_TOKENS, read_budget(recipe.adapter).longest_message)
        model.generation_config.eos_token_id = self._end  # `generate` reads it if its argument is None
        # Two at once on the same cores take longer than in turn; and every thread gets its own OpenMP team from torch.
        self._one = ThreadPoolExecutor(max_workers=1)

    def write(self, wanted: Wanted) -> str:
        """Return the text up to the first marker; callers are served in order of arrival."""
        return self._one.submit(self._write, wanted).result()

    @torch.inference_mode()
    def _write(self, wanted: Wanted) -> str:
        reading = Reading.of(wanted.yesterday_temp, wanted.today_temp)
        prompt = prompt_ids(self._tokenizer, build_messages(reading, SCENE))
        ids = torch.tensor([prompt], device=self._model.device)
        written = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=wanted.temperature or self._sampling.temperature,
            top_p=self._sampling.top_p,
            top_k=0,  # transformers' own default is 50
            repetition_penalty=self._sampling.repetition_penalty,
            max_new_tokens=self._limit,
            eos_token_id=self._end,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        text = str(self._tokenizer.decode(written[0, len(prompt) :], skip_special_tokens=False))
        for marker in STOP_MARKERS:
            text = text.partition(marker)[0]
        return text.strip()


def load_model(recipe: Recipe, dtype: torch.dtype, *, four_bit: bool, merged: bool) -> Any:
    """Load base and adapter, or the merged checkpoint, in 16 or 32 bit or NF4."""
    options: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if four_bit:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    if torch.cuda.is_available():
        options["device_map"] = {"": 0}
    model = AutoModelForCausalLM.from_pretrained(recipe.folder / ("merged" if merged else "base"), **options)
    if not merged:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, recipe.adapter, autocast_adapter_dtype=False)
    return model.eval()


def create_app(writer: Writer) -> FastAPI:
    """Return the original's API."""
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/generate/temperature")
    def generate(wanted: Wanted) -> Written:
        begin = time.perf_counter()
        return Written(generated_text=writer.write(wanted), generation_time=time.perf_counter() - begin)

    return app


def main(
    port: Annotated[int, typer.Option(help="On loopback.")] = 8090,
    quantization: Annotated[Literal["4bit", "none"], typer.Option(help="4bit: NF4 by bitsandbytes.")] = "none",
    dtype: Annotated[Literal["bfloat16", "float32"], typer.Option(help="Compute type.")] = "bfloat16",
    stop: Annotated[bool, typer.Option("--stop", help="Stop at the end-of-turn token.")] = False,
    merged: Annotated[bool, typer.Option("--merged", help="Serve the merged model.")] = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
) -> None:
    """Serve as the original did."""
    found = load_recipe(recipe, set_ or [])
    model = load_model(found, getattr(torch, dtype), four_bit=quantization == "4bit", merged=merged)
    writer = Writer(model, load_tokenizer(found.folder / ("merged" if merged else "base")), found, stop=stop)
    uvicorn.run(create_app(writer), host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

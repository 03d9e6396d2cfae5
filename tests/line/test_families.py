"""KORMo's family end to end: its vocabulary, ids and kind of template on a small model, and ChatML put on top of it.

For both, the whole line is built and its 4-bit end is served by vLLM.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

from core.ports import free_port
from core.prompt import SYSTEM_PROMPT, build_messages
from data.scenes import cases
from data.sets import handwritten
from evaluation.ask import ask_raw
from evaluation.scores import score
from pipeline.recipe import load_recipe
from serve.launch import prepare
from serve.settings import ServeSettings
from tests.conftest import ROOT, run_room
from tests.support.kormo_like import BOS, END, END_THINK, EOS, START, THINK, write_kormo_like
from training.tokenization import load_tokenizer, row_ids

NANO = ROOT / "training/base/nano"
HELD_OUT = handwritten()["test"]
# All rows for the calibration: with the recipe's 128 this base ends 2 % over plain rounding, and is refused for it.
# Two threads: its head has a hundred times nano's rows.
SETTINGS = ["data.rows=150", "train.epochs=1", "quantize.calibration_rows=150", "serve.cpu_threads=2"]
CHANGES = {"own": SETTINGS, "chatml": [*SETTINGS, "train.lora.new_tokens=true"]}


@dataclass(frozen=True)
class Family:
    """A served line."""

    chat_format: str
    folder: Path
    url: str

    def ask(self, path: str, **body: Any) -> Any:
        """Post a request as a plain HTTP client would."""
        answer = httpx.post(f"{self.url}/{path}", json={"model": "signboard", **body}, timeout=60)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()


@pytest.fixture(scope="module", params=["own", "chatml"])
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    """Build and serve the line of a base that looks like KORMo-10B-sft."""
    name = f"pytest-kormo-{request.param}"
    source = ROOT / "runs" / "pytest-kormo-source"
    if not source.exists():
        # Nothing else may have made runs/ yet: this half of the tests runs beside the one that builds there first.
        source.parent.mkdir(exist_ok=True)
        write_kormo_like(NANO, Path(tempfile.mkdtemp(dir=source.parent)) / "source").rename(source)
    changes = [f"name={name}", f"base.path={source.relative_to(ROOT)}", f"base.chat_format={request.param}"]
    changes += CHANGES[request.param]
    options = [part for change in changes for part in ("--set", change)]
    for arguments in (("data", "build"), ("training", "sft"), ("merge", "all")):
        done = run_room(*arguments, *options, timeout=600)
        assert done.returncode == 0, done.stderr
    recipe = load_recipe(ROOT / "recipes/nano.yaml", changes)
    with prepare(recipe, ServeSettings(port=free_port(), allow_failed_verdict=True)).server as server:
        yield Family(request.param, ROOT / recipe.folder, server.url.removesuffix("/v1"))


def test_training_tokens_are_serving_tokens(family: Family) -> None:
    trained = load_tokenizer(family.folder / "base")
    for row in HELD_OUT:
        ids, prompt = row_ids(trained, row.as_conversation())
        messages = build_messages(row.reading, row.scene)
        answer = family.ask("v1/chat/completions", messages=messages, return_token_ids=True)
        assert family.ask("tokenize", messages=messages)["tokens"] == ids[:prompt]
        assert answer["prompt_token_ids"] == ids[:prompt]
        assert answer["choices"][0]["token_ids"][-1] == ids[-1] == trained.eos_token_id
        assert BOS not in ids


def test_the_prompt_is_the_familys(family: Family) -> None:
    messages = build_messages(HELD_OUT[0].reading, HELD_OUT[0].scene)
    ids = family.ask("tokenize", messages=messages)["tokens"]
    text = family.ask("detokenize", tokens=ids)["prompt"]
    start, end = ("<|BOT|>", "<|EOT|>") if family.chat_format == "own" else ("<|im_start|>", "<|im_end|>")
    thought = "<think>\n\n</think>\n\n" if family.chat_format == "own" else ""
    assert text == (
        f"{start}system\n{SYSTEM_PROMPT}{end}\n{start}user\n{messages[1]['content']}{end}\n{start}assistant\n{thought}"
    )
    markers = [token for token in ids if token >= BOS]
    if family.chat_format == "own":
        assert markers == [START, END, START, END, START, THINK, END_THINK]
    else:
        assert len(set(markers)) == 2
        assert len(markers) == 5


def test_bare_calls_stop_by_themselves_without_markers(family: Family) -> None:
    asked = [*cases(1, 13)][:200]
    scores = score(asyncio.run(ask_raw(asked, f"{family.url}/v1", "signboard", "none")))
    assert scores.answers == 200
    assert scores.stopped == 1.0
    assert scores.labels == 0.0
    assert scores.right > 0.95
    assert scores.passes > 0.8  # 150 rows, one epoch: this base names what is absent now and then


def test_thinking_is_off_unless_requested(family: Family) -> None:
    messages = build_messages(HELD_OUT[0].reading, HELD_OUT[0].scene)
    plain = family.ask("tokenize", messages=messages)["tokens"]
    off = family.ask("tokenize", messages=messages, chat_template_kwargs={"enable_thinking": False})["tokens"]
    thinking = family.ask("tokenize", messages=messages, chat_template_kwargs={"enable_thinking": True})["tokens"]
    assert off == plain
    assert (thinking == plain) is (family.chat_format == "chatml")


def test_one_end_of_turn_everywhere_and_the_bases_other_ends_beside_it(family: Family) -> None:
    end = AutoTokenizer.from_pretrained(family.folder / "awq").eos_token_id
    config = json.loads((family.folder / "awq/config.json").read_text())
    generation = json.loads((family.folder / "awq/generation_config.json").read_text())
    assert config["eos_token_id"] == end
    assert generation["eos_token_id"] == ([END, EOS] if family.chat_format == "own" else [end, EOS, END])


def test_the_template_travels_unchanged_from_training_to_serving(family: Family) -> None:
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        assert (family.folder / "awq" / name).read_bytes() == (family.folder / "base" / name).read_bytes()
    assert "chat_template" not in json.loads((family.folder / "awq/tokenizer_config.json").read_text())

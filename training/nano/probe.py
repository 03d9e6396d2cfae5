"""Probe the nano base: is the arithmetic right in every format, and does it ramble under the signboard prompt?

The answers are greedy, over the full grid of usual readings; the seed picks formats and wordings.
"""

import random
import re
from typing import Any

import torch
from rich.progress import track
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.checks import FALL, RISE, SAME, check_labels, check_message
from core.park import Scene
from core.prompt import Message, build_messages
from core.reading import Reading
from data.scenes import random_prompt_scene
from training.chat_template import END_OF_TURN
from training.nano.corpus import KINDS, SYSTEM_SHARE, grid, scene_for, short_conversation

CLAUSE = re.compile(r"(\d+)도([^.?!\n\d]*)")  # the number, and what is said of it
UNCHANGED = re.compile("같|변화")
SIGNBOARD = "signboard prompt"


def probe(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> dict[str, dict[str, float]]:
    """Return, per format, shares over the grid: `right` (number and direction), `labels`, `stopped`, `fits`."""
    found = {}
    for kind in (*KINDS, SIGNBOARD):
        rng = random.Random(seed)
        scenes = [random_prompt_scene(rng) if kind == SIGNBOARD else scene_for(kind, rng) for _ in grid()]
        asked = zip(grid(), scenes, strict=True)
        texts = answers(model, tokenizer, [prompt_of(kind, *case, rng) for case in asked], kind)
        plain = [(text.removesuffix(END_OF_TURN), reading) for text, reading in zip(texts, grid(), strict=True)]
        found[kind] = {
            "labels": _share(bool(check_labels(text)) for text, _ in plain),
            "stopped": _share(text.endswith(END_OF_TURN) for text in texts),
        }
        if kind != "advice":
            found[kind]["right"] = _share(arithmetic_right(text, reading) for text, reading in plain)
        if kind == "message":
            found[kind]["fits"] = _share(
                not check_message(text, reading, scene) for (text, reading), scene in zip(plain, scenes, strict=True)
            )
    return found


def prompt_of(kind: str, reading: Reading, scene: Scene | None, rng: random.Random) -> list[Message]:
    """Return a prompt of a format for a reading."""
    if kind == SIGNBOARD:
        return build_messages(reading, scene)
    return short_conversation(reading, scene, kind, rng, system=rng.random() < SYSTEM_SHARE)[:-1]


def arithmetic_right(text: str, reading: Reading) -> bool:
    """Return whether every clause that compares the days is right in number and direction, and at least one exists."""
    size = abs(reading.change)
    temperatures = re.compile(r"(어제|오늘)[^.\n]*?-?\d+도(와|입니다|이며)[^.\n]*")
    clauses = CLAUSE.findall(temperatures.sub("", text))
    if size == 0:
        return not clauses and bool(UNCHANGED.search(text) or SAME.search(text))
    right, wrong = (RISE, FALL) if reading.change > 0 else (FALL, RISE)
    return bool(clauses) and all(
        int(number) == size and right.search(words) and not wrong.search(words) for number, words in clauses
    )


@torch.inference_mode()
def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, talks: list[list[Message]], what: str, batch: int = 256
) -> list[str]:
    """Return greedy answers, end-of-turn marker included where the model wrote it."""
    prompts = tokenizer.apply_chat_template(talks, tokenize=True, add_generation_prompt=True)["input_ids"]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts: dict[int, str] = {}
    for start in track(range(0, len(order), batch), what):
        chosen = order[start : start + batch]
        padded: Any = tokenizer.pad(
            {"input_ids": [prompts[i] for i in chosen]}, padding_side="left", return_tensors="pt"
        )
        out = model.generate(**padded, do_sample=False, max_new_tokens=200, pad_token_id=tokenizer.pad_token_id)
        for i, ids in zip(chosen, out[:, padded["input_ids"].shape[1] :], strict=True):
            texts[i] = tokenizer.decode([token for token in ids.tolist() if token != tokenizer.pad_token_id])
    return [texts[i] for i in range(len(prompts))]


def _share(values: Any) -> float:
    found = [bool(value) for value in values]
    return round(sum(found) / len(found), 5)

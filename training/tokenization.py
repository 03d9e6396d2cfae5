"""Tokenizer and chat template of a checkpoint: loading, rendering, and the end-of-turn token they agree on."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from core.catalogue import elements
from core.errors import ArtefactError
from core.park import Scene
from core.prompt import GOLDEN, PROMPT_VERSION, Message, build_messages, fingerprint
from core.reading import Reading
from core.season import Season
from pipeline.files import digest

Talk = list[Message]
TokenRow = tuple[list[int], int]  # token ids, and how many of them are the prompt
LONGEST = Reading(-35, -10)  # no reading has more characters


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer.

    Raises:
        ArtefactError: no chat template, no end-of-turn token, or padding that would mask it.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not isinstance(tokenizer.chat_template, str):
        raise ArtefactError(
            f"The tokenizer in {folder} has no chat template, or several.", "Use an instruction-tuned checkpoint."
        )
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ArtefactError(
            f"The tokenizer in {folder} has no end-of-turn token of its own (pad and eos must differ).",
            "Set pad_token in tokenizer_config.json to another token, or the model never learns to stop.",
        )
    return tokenizer


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Talk) -> list[int]:
    """Return the ids of a prompt as the server must see it."""
    return _render(tokenizer, messages, add_generation_prompt=True)


def row_ids(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> TokenRow:
    """Return the ids of a prompt/completion row, up to and including end-of-turn, and the prompt's length.

    Raises:
        ArtefactError: the template does not render the prompt as a prefix of the whole, or does not end the turn.
    """
    prompt = prompt_ids(tokenizer, row["prompt"])
    full = _render(tokenizer, row["prompt"] + row["completion"], add_generation_prompt=False)
    while full and full[-1] != tokenizer.eos_token_id:
        full.pop()  # a template may put a line break after the end of a turn
    if full[: len(prompt)] != prompt or len(full) <= len(prompt):
        raise ArtefactError(
            f"The chat template renders a prompt differently once it is answered, or ends no turn with "
            f"{tokenizer.eos_token}.",
            "Repair the tokenizer's chat template or its eos_token.",
        )
    return full, len(prompt)


def lesson_ids(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> TokenRow:
    """Return the ids of a lesson, whose completion ends no turn, and its prompt's length.

    A text begins with the token that begins a text, or ends one: models keep nothing else at their first place. A last
    message of the assistant's is the beginning of the answer.
    """
    prompt = row["prompt"]
    if isinstance(prompt, str):
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = [begin, *tokenizer.encode(prompt, add_special_tokens=False)]
    else:
        said = [message["content"] for message in prompt if message["role"] == "assistant"]
        ids = prompt_ids(tokenizer, prompt[: len(prompt) - len(said)])
        ids += tokenizer.encode("".join(said), add_special_tokens=False)
    return ids + tokenizer.encode(row["completion"], add_special_tokens=False), len(ids)


def prompt_record(tokenizer: PreTrainedTokenizerBase, rows: list[TokenRow]) -> dict[str, Any]:
    """Return a record of the golden prompt's and the rows' tokens: equal records mean equal prompts.

    It also says how long prompts and messages are in this tokenizer (`pipeline/budget.py`).
    """
    messages = build_messages(*GOLDEN)
    ids = prompt_ids(tokenizer, messages)
    return {
        "version": PROMPT_VERSION,
        "messages": messages,
        "token_ids": ids,
        "fingerprint": fingerprint(ids),
        "rows": len(rows),
        "rows_sha256": digest([ids for ids, _ in rows]),
        "longest_prompt": max(
            len(prompt_ids(tokenizer, build_messages(LONGEST, Scene.of(season, elements())))) for season in Season
        ),
        "longest_message": max(len(ids) - prompt for ids, prompt in rows),
    }


def _render(tokenizer: PreTrainedTokenizerBase, talk: Talk, *, add_generation_prompt: bool) -> list[int]:
    encoded = tokenizer.apply_chat_template(talk, tokenize=True, add_generation_prompt=add_generation_prompt)
    return list(encoded["input_ids"])

"""A base's chat format, configured once at import, so that training, quantization and serving read the same template.

Either the base's own template, with thinking off unless a caller asks for it, or ChatML with its two markers as
special tokens. Every later step renders without options, exactly as a bare call to the server does.
"""

import re
from pathlib import Path
from typing import Any, Literal

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from core.errors import ArtefactError
from core.prompt import GOLDEN, build_messages
from core.reading import Reading
from training.checkpoint import copy_token_rows, read_json
from training.settle import ANSWER, read_tokenizer, settle_tokenizer, stop_also_at, write_template
from training.tokenization import load_tokenizer, prompt_ids, row_ids

START_OF_TURN, END_OF_TURN = "<|im_start|>", "<|im_end|>"
# The line break stands before a turn instead of after it, so that nothing follows the last end-of-turn token.
CHATML = (
    "{%- for message in messages -%}"
    "{%- if not loop.first %}{{ '\\n' }}{% endif -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif -%}"
)
SWITCH = "enable_thinking"  # the name that Qwen3's and KORMo's templates share
THINKING_OFF = "{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}"
# What differs between two renderings of the same messages: the clock, chance. Callers' variables are undefined for all.
VARYING = re.compile(r"\bstrftime_now\b|\|\s*random\b|\blipsum\b")
CODE = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
PROBES = (GOLDEN, (Reading(-12, -3), None), (Reading(7, 7), None))


def configure_chat_template(folder: Path, chat_format: Literal["own", "chatml"]) -> dict[str, Any]:
    """Configure the chat format of the checkpoint in `folder`; return a record of the changes.

    Raises:
        ArtefactError: no usable template or end-of-turn token, or no room for new tokens.
    """
    settled = {"settled": settle_tokenizer(folder, own_template=chat_format == "own")}
    if chat_format == "chatml":
        return {"chat_format": "chatml", "new_tokens": _adopt_chatml(folder)} | settled
    switched = _switch_thinking_off(folder)
    prove_template(folder)
    load_tokenizer(folder)  # rejects a tokenizer with which the model could not learn to stop
    return {"chat_format": "own", "thinking": "off by default" if switched else "not in the template"} | settled


def prove_template(folder: Path) -> None:
    """Prove that a base's own template renders the prompts and rows that it will be given, always in the same way.

    Raises:
        ArtefactError: it varies, or it cannot render a system turn, a user turn and an answer.
    """
    tokenizer = load_tokenizer(folder)
    advice = "Change the base's chat template, or use ChatML: base.chat_format: chatml."
    code = " ".join(CODE.findall(COMMENT.sub("", tokenizer.chat_template)))
    if varying := VARYING.search(code):
        raise ArtefactError(
            f"The chat template in {folder} uses {varying[0].strip()}: its prompt would be another one tomorrow.",
            f"Write a fixed text in its place. {advice}",
        )
    for case in PROBES:
        answer = {"role": "assistant", "content": ANSWER}
        row: dict[str, Any] = {"prompt": build_messages(*case), "completion": [answer]}
        try:
            row_ids(tokenizer, row)
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise ArtefactError(
                f"The chat template in {folder} cannot render a system turn and a user turn: {error}.", advice
            ) from error


def _switch_thinking_off(folder: Path) -> bool:
    tokenizer = load_tokenizer(folder)
    if SWITCH not in tokenizer.chat_template:
        return False
    expected = _rendered(tokenizer, enable_thinking=False)
    write_template(folder, THINKING_OFF + tokenizer.chat_template)
    if _rendered(load_tokenizer(folder)) != expected:
        raise ArtefactError(
            f"The chat template in {folder} does not let callers switch its thinking off.",
            "Give the base a template whose enable_thinking can be set.",
        )
    return True


def _adopt_chatml(folder: Path) -> dict[str, int]:
    """Give the tokenizer ChatML; return the markers that are new to it, with their ids.

    A new marker starts with the embedding of the base's own marker that it replaces: an unused row is noise, and from
    there a few hundred training rows do not teach the model to end its turn (docs/LOG.md).
    """
    before = read_tokenizer(folder)
    if before.eos_token_id is None:
        raise ArtefactError(
            f"The tokenizer in {folder} names no end-of-text token.", "Set eos_token in its tokenizer_config.json."
        )
    heirs = {START_OF_TURN: _start_of_turn(before), END_OF_TURN: before.eos_token_id}
    missing = [marker for marker in heirs if marker not in before.get_vocab()]
    before.add_special_tokens({"eos_token": END_OF_TURN, "additional_special_tokens": [START_OF_TURN]})
    before.save_pretrained(folder)
    stop_also_at(folder, heirs[END_OF_TURN])
    write_template(folder, CHATML)
    after = load_tokenizer(folder)  # the ids on disk: loading renumbers a vocabulary with gaps
    new = {marker: after.convert_tokens_to_ids(marker) for marker in missing}
    rows = read_json(folder / "config.json")["vocab_size"]
    if any(token >= rows for token in new.values()):
        raise ArtefactError(
            f"The base's vocabulary of {rows} is full: there is no row for {', '.join(new)}.",
            "Use the base's own chat format: base.chat_format: own.",
        )
    copy_token_rows(folder, {token: heirs[marker] for marker, token in new.items()})
    return new


def _start_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the special token with which the base's own template begins a turn; its end of turn if there is none."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    try:
        ids = prompt_ids(tokenizer, build_messages(*GOLDEN))
    except (TemplateError, ValueError):  # none, or one that is replaced anyway
        return int(tokenizer.eos_token_id)
    return next((token for token in ids if token in special - {tokenizer.bos_token_id}), tokenizer.eos_token_id)


def _rendered(tokenizer: PreTrainedTokenizerBase, **options: Any) -> list[str]:
    """Return a prompt, and the same prompt answered, as text."""
    prompt = build_messages(Reading(10, 20))
    answered = [*prompt, {"role": "assistant", "content": ANSWER}]
    return [
        tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True, **options),
        tokenizer.apply_chat_template(answered, tokenize=False, **options),
    ]

"""What tokenizers leave open, settled once at import: how texts split, one template, an end of turn, a pad token.

Later steps read the checkpoint's tokenizer and decide nothing. Each change is recorded in the base's manifest.
"""

import json
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from core.errors import ArtefactError
from core.prompt import GOLDEN, build_messages
from pipeline.files import write_text
from training.checkpoint import end_tokens, read_json

TEMPLATE_FILE = "chat_template.jinja"
CONFIG_FILES = ("tokenizer_config.json", "special_tokens_map.json")
ANSWER = "어제보다 10도 올라 따뜻합니다."
TOKENIZER, AS_WRITTEN = "tokenizer.json", "TokenizersBackend"  # the class that reads the file as it is
TEXTS = (*(message["content"] for message in build_messages(*GOLDEN)), ANSWER, "system\nuser\n\nassistant 2026")
# Parts of names of tokens that are made for padding, or never stand in a chat; the best first.
PADS = ("pad", "unk", "reserved", "unused", "endoftext", "end_of_text")


def settle_tokenizer(folder: Path, *, own_template: bool) -> dict[str, str]:
    """Settle the tokenizer of the checkpoint in `folder`; return the changes, by what was changed.

    Args:
        folder: an imported checkpoint.
        own_template: the base's own chat template is used, so its end of turn counts.

    Raises:
        ArtefactError: no tokenizer, no token that can end a turn, or none that can pad.
    """
    changes = _settle_class(folder)
    changes |= _settle_template(folder, read_tokenizer(folder), own_template=own_template)
    if own_template:
        changes |= _settle_end(folder, read_tokenizer(folder))
    return changes | _settle_pad(folder, read_tokenizer(folder), own_template=own_template)


def _settle_class(folder: Path) -> dict[str, str]:
    """Let tokenizer.json be read as it is where the named class would split texts in a way of its own.

    transformers' classes take only the pieces from tokenizer.json; every other tool reads the whole file.

    Raises:
        ArtefactError: transformers insists on its own way for this family.
    """
    if not (folder / TOKENIZER).exists() or _reads_its_file(folder):
        return {}
    config = read_json(folder / CONFIG_FILES[0]) if (folder / CONFIG_FILES[0]).exists() else {}
    changed = json.dumps(config | {"tokenizer_class": AS_WRITTEN}, indent=2, ensure_ascii=False)
    write_text(folder / CONFIG_FILES[0], changed)
    if not _reads_its_file(folder):
        raise ArtefactError(
            f"transformers reads texts as other tokens than {folder / TOKENIZER} says.",
            "Use a base whose tokenizer is its family's own.",
        )
    return {"tokenizer_class": f"{config.get('tokenizer_class')} → {AS_WRITTEN}"}


def _reads_its_file(folder: Path) -> bool:
    tokenizer, file = read_tokenizer(folder), Tokenizer.from_file(str(folder / TOKENIZER))
    return all(
        file.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, add_special_tokens=False)
        for text in TEXTS
    )


def _settle_template(folder: Path, tokenizer: PreTrainedTokenizerBase, *, own_template: bool) -> dict[str, str]:
    """Keep the template named default where a tokenizer has several; any, where none of them is used."""
    template: Any = tokenizer.chat_template
    if not isinstance(template, dict) or ("default" not in template and own_template):
        return {}
    kept = "default" if "default" in template else min(template)
    write_template(folder, template[kept])
    return {"template": f"{kept}, of {', '.join(sorted(template))}"}


def _settle_end(folder: Path, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """Let the token that ends a turn in the template be the tokenizer's end; the former end stays one more."""
    end = end_of_turn(tokenizer)
    if end is None or end == tokenizer.eos_token:
        return {}
    before = tokenizer.eos_token_id
    _write_token(folder, "eos_token", end)
    if before is not None:
        stop_also_at(folder, before)
    return {"eos_token": f"{tokenizer.eos_token} → {end}"}


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the first special token after an answer, as the template renders it; None if there is none."""
    messages = [*build_messages(*GOLDEN), {"role": "assistant", "content": ANSWER}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    except (TemplateError, TypeError, KeyError, ValueError):
        return None  # what is wrong with it, prove_template says
    after = text.rpartition(ANSWER)[2]
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    places = {after.find(token): token for token in special if token in after}
    return places[min(places)] if places else None


def _settle_pad(folder: Path, tokenizer: PreTrainedTokenizerBase, *, own_template: bool) -> dict[str, str]:
    """Give the tokenizer a pad token that ends nothing and stands in no prompt."""
    pad, end = tokenizer.pad_token, tokenizer.eos_token
    if pad is not None and pad != end:
        return {}
    used = {end, tokenizer.bos_token} | (_tokens_of_a_chat(tokenizer) if own_template else set())
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    free = [token for token in special if token not in used]
    if not free:
        raise ArtefactError(
            f"The tokenizer in {folder} has no special token that could pad.",
            "Add one to the tokenizer and a row to the embedding, or use another base.",
        )
    chosen = min(free, key=lambda token: next((i for i, part in enumerate(PADS) if part in token), len(PADS)))
    _write_token(folder, "pad_token", chosen)
    return {"pad_token": f"{pad} → {chosen}"}


def _tokens_of_a_chat(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    try:
        ids = tokenizer.apply_chat_template(build_messages(*GOLDEN), tokenize=True)["input_ids"]
    except (TemplateError, TypeError, KeyError, ValueError):
        return set()
    return set(tokenizer.convert_ids_to_tokens(ids))


def stop_also_at(folder: Path, token: int) -> None:
    """Keep a token among the ids that end an answer."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.exists() else {}
    write_text(path, json.dumps(config | {"eos_token_id": sorted({token, *end_tokens(config)})}, indent=2))


def write_template(folder: Path, template: str) -> None:
    """Write the template into its own file; a copy in tokenizer_config.json could contradict it."""
    config = read_json(folder / "tokenizer_config.json")
    if config.pop("chat_template", None):
        write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2, ensure_ascii=False))
    write_text(folder / TEMPLATE_FILE, template)


def _write_token(folder: Path, role: str, token: str) -> None:
    for name in CONFIG_FILES:
        path = folder / name
        if path.exists() or name == CONFIG_FILES[0]:
            content = read_json(path) if path.exists() else {}
            write_text(path, json.dumps(content | {role: token}, indent=2, ensure_ascii=False))


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer as it comes, settled or not."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"The tokenizer in {folder} cannot be read: {error}.", "Copy the whole checkpoint."
        ) from error
    return tokenizer

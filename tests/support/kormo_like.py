"""A stand-in for KORMo-10B-sft: the nano base under KORMo's vocabulary size, token ids and kind of chat template.

The ids that nobody could look up are free choices: those of the thinking marks.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

VOCABULARY = 125184
BOS, EOS, PAD, START, END = 125030, 125031, 125032, 125039, 125040
THINK, END_THINK = 125041, 125042
SPECIAL = {"<|BOS|>": BOS, "<|EOS|>": EOS, "<|PAD|>": PAD, "<|BOT|>": START, "<|EOT|>": END}
# After the turn marker as Qwen3 does it: thinking is on unless switched off, an answer carries an empty thought.
TEMPLATE = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|BOT|>assistant\\n' }}
        {%- if loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
        {{- message.content + '<|EOT|>\\n' }}
    {%- else %}
        {{- '<|BOT|>' + message.role + '\\n' + message.content + '<|EOT|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|BOT|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""


def write_kormo_like(nano: Path, folder: Path, *, shards: int = 5) -> Path:
    """Write the stand-in (130 MB) in five shards, as KORMo-10B comes."""
    folder.mkdir(parents=True)
    tensors = load_file(nano / "model.safetensors")
    newline = json.loads((nano / "tokenizer.json").read_text())["model"]["vocab"]["Ċ"]
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = _spread(tensors[name], newline)
    names = sorted(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        save_file({name: tensors[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = json.loads((nano / "config.json").read_text())
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    (folder / "config.json").write_text(json.dumps(config | tokens))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": EOS, "max_new_tokens": 8}))
    write_tokenizer(nano, folder)
    return folder


def write_tokenizer(nano: Path, folder: Path) -> None:
    """Write the tokenizer: nano's pieces, KORMo's special tokens at their ids, a BOS before every plain text."""
    content = json.loads((nano / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    names = [token for token in content["added_tokens"] if not token["special"]]  # nano's tokens for what parks have
    for token in content["added_tokens"]:
        vocabulary.pop(token["content"], None)
    special = SPECIAL | {"<think>": THINK, "</think>": END_THINK}
    vocabulary |= {token["content"]: token["id"] for token in names}  # or they get new ids
    unused = set(range(BOS + 13)) - set(vocabulary.values()) - set(special.values())
    vocabulary |= special | {f"<unused {number}>": number for number in unused}  # no gaps, as in KORMo's
    content["added_tokens"] = [
        {"id": number, "content": text, "special": text in SPECIAL, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for text, number in special.items()
    ] + names
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|BOS|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|BOS|>": {"id": "<|BOS|>", "ids": [BOS], "tokens": ["<|BOS|>"]}},
    }
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        bos_token="<|BOS|>",
        eos_token="<|EOT|>",
        pad_token="<|PAD|>",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    # where releases of 2025 keep it
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _spread(rows: torch.Tensor, newline: int) -> torch.Tensor:
    """Put nano's rows where KORMo has them; what nano lacks gets the padding's row, which is never written."""
    spread = rows[0].repeat(VOCABULARY, 1)
    spread[3 : len(rows)] = rows[3:]
    spread[START], spread[END] = rows[1], rows[2]
    spread[THINK] = spread[END_THINK] = rows[newline]
    return spread

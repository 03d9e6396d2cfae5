"""Tiny checkpoints as people have them: the config keys, tensor names, tokens and kind of chat template of each family.

Random weights, nano's pieces of words. What a release leaves to its users is left to them here too: no pad token, an
end that ends no turn, a default system turn. The templates are written for these tests.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from core.prompt import PROMPT_FILE
from pipeline.graph import MADE_FROM
from pipeline.recipe import BaseSection, QuantizeSection, Recipe
from pipeline.stage import run_stage
from tests.support.tiny_line import NANO, _data, token_ids
from tests.support.tiny_line import RECIPE as TINY
from training.stages import run_import
from training.tokenization import load_tokenizer, prompt_record

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Random models lose much in 4 bit, and a random adapter teaches nothing; the group is the largest that divides.
LENIENT = QuantizeSection(calibration_rows=9, max_over_rounding=10, max_loss_ratio=10)
PIECES = 2048  # of nano's tokenizer, its three special tokens included
ROWS = 2112  # of the embedding: more than there are tokens, as usual
SHAPE = {
    "vocab_size": ROWS,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,  # of 32 numbers: AutoAWQ wants whole 64s
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,  # so that every weight shows in the logits
}

# ChatML; whoever gives no system turn gets one.
CHATML_WITH_DEFAULT = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nYou answer in one line.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
# Thinking is on unless switched off; an answer carries an empty thought.
CHATML_THINKING = """\
{%- set empty = '<think>\\n\\n</think>\\n\\n' %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.last %}{{- empty }}{%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}{{- empty }}{%- endif %}
{%- endif %}"""
# The system turn becomes the beginning of the user's.
INST_FOLDED = """\
{{- bos_token }}
{%- set spoken = namespace(first='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- set spoken.first = message.content + '\\n\\n' %}
    {%- elif message.role == 'user' %}
        {{- '[INST] ' + spoken.first + message.content + '[/INST]' }}
        {%- set spoken.first = '' %}
    {%- else %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}"""
INST_WITHOUT_SYSTEM = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{- '[INST] ' + message.content + ' [/INST]' }}
    {%- elif message.role == 'assistant' %}{{- message.content + eos_token }}
    {%- else %}{{- raise_exception('Only user and assistant turns, please!') }}
    {%- endif %}
{%- endfor %}"""
HEADERS = """\
{%- for message in messages %}
    {%- if loop.first %}{{- bos_token }}{%- endif %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
# A user's turn ends with a line break only.
BRACKETS = """\
{%- if messages[0].role != 'system' %}{{- '[|system|][|endofturn|]\\n' }}{%- endif %}
{%- for message in messages %}
    {{- '[|' + message.role + '|]' + message.content }}
    {%- if message.role != 'user' %}{{- '[|endofturn|]' }}{%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[|assistant|]' }}{%- endif %}"""

EXAONE_NAMES = (
    ("model.embed_tokens.", "transformer.wte."),
    ("model.norm.", "transformer.ln_f."),
    ("model.layers.", "transformer.h."),
    (".self_attn.o_proj.", ".attn.attention.out_proj."),
    (".self_attn.", ".attn.attention."),
    (".mlp.gate_proj.", ".mlp.c_fc_0."),
    (".mlp.up_proj.", ".mlp.c_fc_1."),
    (".mlp.down_proj.", ".mlp.c_proj."),
    (".input_layernorm.", ".ln_1."),
    (".post_attention_layernorm.", ".ln_2."),
)


GGUF_NAMES = (
    ("model.embed_tokens.", "token_embd."),
    ("model.norm.", "output_norm."),
    ("lm_head.", "output."),
    ("model.layers.", "blk."),
    (".input_layernorm.", ".attn_norm."),
    (".post_attention_layernorm.", ".ffn_norm."),
    (".self_attn.o_proj.", ".attn_output."),
    (".self_attn.q_proj.", ".attn_q."),
    (".self_attn.k_proj.", ".attn_k."),
    (".self_attn.v_proj.", ".attn_v."),
    (".mlp.gate_proj.", ".ffn_gate."),
    (".mlp.up_proj.", ".ffn_up."),
    (".mlp.down_proj.", ".ffn_down."),
)


def write_qwen2(folder: Path) -> Any:
    """Write a checkpoint like Qwen2.5's instruction-tuned ones; return the model."""
    model = _random(Qwen2ForCausalLM(Qwen2Config(**SHAPE, rms_norm_eps=1e-6, tie_word_embeddings=False)))
    ends = {"bos_token_id": 2, "eos_token_id": 1}
    window = {"use_sliding_window": False, "sliding_window": 512, "max_window_layers": 2}
    _write_model(model, folder, old_config(model) | ends | window | {"use_mrope": False})
    write_json(folder / "generation_config.json", {"eos_token_id": [1, 2], "pad_token_id": 2, "top_k": 20})
    write_tokenizer(
        folder,
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|box_start|>"),
        CHATML_WITH_DEFAULT,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    return model


def write_qwen3(folder: Path) -> Any:
    """Write a checkpoint like Qwen3's: heads wider than the hidden size would give, thinking on; return the model."""
    shape = SHAPE | {"head_dim": 64}
    model = _random(Qwen3ForCausalLM(Qwen3Config(**shape, rms_norm_eps=1e-6, tie_word_embeddings=False)))
    ends = {"bos_token_id": 2, "eos_token_id": 1}
    window = {"use_sliding_window": False, "sliding_window": None, "max_window_layers": 2}
    _write_model(model, folder, old_config(model) | ends | window)
    write_json(folder / "generation_config.json", {"eos_token_id": [1, 2], "pad_token_id": 2, "do_sample": True})
    write_tokenizer(
        folder,
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        CHATML_THINKING,
        plain=("<think>", "</think>"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    return model


def write_mistral(folder: Path, template: str = INST_FOLDED) -> Any:
    """Write a checkpoint like Mistral's: no pad token, a tokenizer that adds its BOS itself; return the model."""
    shape = SHAPE | {"head_dim": 32, "sliding_window": None}
    model = _random(MistralForCausalLM(MistralConfig(**shape, rms_norm_eps=1e-5, tie_word_embeddings=False)))
    _write_model(model, folder, old_config(model) | {"bos_token_id": 1, "eos_token_id": 2, "sliding_window": None})
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2})
    write_tokenizer(
        folder,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        template,
        begins="<s>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    return model


def write_llama3(folder: Path) -> Any:
    """Write a checkpoint like Llama 3's, whose tokenizer names the end of a text, not of a turn; return the model."""
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    model = _random(LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope, tie_word_embeddings=False)))
    _write_model(model, folder, old_config(model) | {"bos_token_id": 0, "eos_token_id": [1, PIECES + 1]})
    write_json(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": [1, PIECES + 1]})
    write_tokenizer(
        folder,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|reserved_special_token_0|>",
        ),
        HEADERS,
        begins="<|begin_of_text|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
    )
    return model


def write_smollm2(folder: Path) -> Any:
    """Write a checkpoint like SmolLM2's: tied embeddings, one token that pads and ends; return the model."""
    model = _random(LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=True)))
    theirs = {
        "_name_or_path": "models/step-9000",
        "_model_name_or_path": "models/step-9000",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "is_llama_config": True,
        "rope_interleaved": False,
        "transformers.js_config": {"dtype": "q4"},
    }
    _write_model(model, folder, old_config(model) | theirs)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    write_tokenizer(
        folder,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"),
        CHATML_WITH_DEFAULT,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    return model


def write_exaone(folder: Path, *, shards: int = 1) -> Any:
    """Write a Llama under EXAONE 3.5's names; return the Llama."""
    shape = SHAPE | {"head_dim": 32, "num_key_value_heads": 4, "intermediate_size": 320}  # groups of 64
    model = _random(LlamaForCausalLM(LlamaConfig(**shape, rms_norm_eps=1e-5, tie_word_embeddings=False)))
    config = old_config(model) | {
        "architectures": ["ExaoneForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_exaone.ExaoneConfig"},
        "bos_token_id": 1,
        "embed_dropout": 0.0,
        "eos_token_id": PIECES,
        "model_type": "exaone",
        "pad_token_id": 0,
    }
    for ours, theirs in (
        ("hidden_act", "activation_function"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("num_hidden_layers", "num_layers"),
    ):
        config[theirs] = config.pop(ours)
    for key in ("attention_bias", "mlp_bias", "pretraining_tp"):
        config.pop(key, None)
    _write_model(model, folder, config, shards=shards, rename=_exaone_name)
    write_json(folder / "generation_config.json", {"bos_token_id": 1, "eos_token_id": PIECES, "pad_token_id": 0})
    write_tokenizer(
        folder,
        ("[PAD]", "[BOS]", "[UNK]", "[|endofturn|]", "[|system|]", "[|user|]", "[|assistant|]"),
        BRACKETS,
        bos_token="[BOS]",
        eos_token="[|endofturn|]",
        pad_token="[PAD]",
        unk_token="[UNK]",
    )
    return model


def build_line(name: str, source: Path) -> Recipe:
    """Build data, base and adapter of a checkpoint, below the working directory: a random LoRA on every projection."""
    recipe = TINY.model_copy(update={"name": name, "base": BaseSection(path=source), "quantize": LENIENT})
    inputs = {name: recipe.folder / name for name in MADE_FROM["adapter"]}
    run_stage(recipe.folder / "data", format=1, recipe=name, settings={}, inputs={}, build=partial(_data, recipe))
    run_import(recipe)
    run_stage(recipe.adapter, format=1, recipe=name, settings={}, inputs=inputs, build=partial(_adapter, recipe))
    return recipe


def _adapter(recipe: Recipe, folder: Path) -> dict[str, Any]:
    base = recipe.folder / "base"
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero, before any training
            nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    write_json(folder / PROMPT_FILE, prompt_record(load_tokenizer(base), token_ids(recipe, "train")))
    return {}


def old_config(model: Any) -> dict[str, Any]:
    """Return a model's config with the keys of transformers 4, which most checkpoints have."""
    config: dict[str, Any] = {
        key: value
        for key, value in model.config.to_diff_dict().items()
        if key not in ("dtype", "layer_types", "rope_parameters", "transformers_version")
    }
    config |= {key: getattr(model.config, key) for key in (*SHAPE, "hidden_act", "rms_norm_eps", "tie_word_embeddings")}
    rope = dict(model.config.rope_parameters)
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    return config | {"architectures": [type(model).__name__], "torch_dtype": "bfloat16", "use_cache": True}


def write_tokenizer(
    folder: Path,
    special: tuple[str, ...],
    template: str | list[dict[str, str]],
    *,
    plain: tuple[str, ...] = (),
    begins: str | None = None,
    **roles: str,
) -> None:
    """Write a tokenizer of nano's pieces.

    Args:
        folder: the checkpoint.
        special: its special tokens; the first three take the ids 0…2, the others those after the pieces.
        template: its chat template, or several as a list of names and templates.
        plain: added tokens that are not special.
        begins: the token that it puts before every plain text.
        roles: eos_token, pad_token and so on.
    """
    content = json.loads((NANO / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = content["model"]["vocab"]
    for token in content["added_tokens"]:
        vocabulary.pop(token["content"], None)  # names of elements are no pieces
    ids = {text: place if place < 3 else PIECES + place - 3 for place, text in enumerate((*special, *plain))}
    vocabulary |= ids
    content["added_tokens"] = [
        {"id": number, "content": text, "special": text in special, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for text, number in ids.items()
    ]
    if begins:
        first = {"SpecialToken": {"id": begins, "type_id": 0}}
        content["post_processor"] |= {
            "single": [first, *content["post_processor"]["single"]],
            "special_tokens": {begins: {"id": begins, "ids": [ids[begins]], "tokens": [begins]}},
        }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), clean_up_tokenization_spaces=False, **roles
    )
    tokenizer.save_pretrained(folder)
    edit_json(folder / "tokenizer_config.json", chat_template=template)  # where releases before 2025 keep it


def write_gguf(model: Any, tokenizer: Path, file: Path, kind: str = "F16") -> Path:
    """Write a Llama as a GGUF file as llama.cpp's converter does: its own names, rotated pairs side by side.

    Args:
        model: the Llama.
        tokenizer: a checkpoint's folder; its template and tokens go into the file.
        file: where to write.
        kind: of the matrices, F16 or a quantized one; vectors are always F32.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    config, writer = model.config, GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer, config.vocab_size)
    if config.rope_parameters["rope_type"] != "default":  # the converter writes what it divides the frequencies by
        writer.add_tensor("rope_freqs.weight", torch.full((config.head_dim // 2,), 8.0).numpy())
    for name, tensor in model.state_dict().items():
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue
        for ours, theirs in GGUF_NAMES:
            name = name.replace(ours, theirs)  # noqa: PLW2901 - step by step
        for part, heads in (("attn_q.", config.num_attention_heads), ("attn_k.", config.num_key_value_heads)):
            if part in name:
                halves = tensor.reshape(heads, 2, -1, tensor.shape[1])
                tensor = halves.swapaxes(1, 2).reshape(tensor.shape)  # noqa: PLW2901
        wanted = GGMLQuantizationType[kind if tensor.ndim > 1 else "F32"]
        writer.add_tensor(name, quants.quantize(tensor.float().numpy(), wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, folder: Path, rows: int) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    ids: dict[str, int] = content["model"]["vocab"] | {
        token["content"]: token["id"] for token in content["added_tokens"]
    }
    names = {number: text for text, number in ids.items()}
    special = {token["id"] for token in content["added_tokens"] if token["special"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([names.get(number, f"[unused{number}]") for number in range(rows)])
    writer.add_token_types([3 if number in special else 1 if number in names else 5 for number in range(rows)])
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    for role, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
    ):
        if role in config:
            add(ids[config[role]])
    writer.add_chat_template(config["chat_template"])


def to_vocab_and_merges(folder: Path) -> None:
    """Turn a checkpoint's tokenizer.json into vocab.json and merges.txt, as Qwen2's first releases came."""
    content = json.loads((folder / "tokenizer.json").read_text())
    added = {token["id"]: token for token in content["added_tokens"]}
    pieces = {piece: number for piece, number in content["model"]["vocab"].items() if number not in added}
    write_json(folder / "vocab.json", pieces)
    merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    tokens = {str(number): {k: v for k, v in token.items() if k != "id"} for number, token in added.items()}
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder=tokens, tokenizer_class="Qwen2Tokenizer")
    (folder / "tokenizer.json").unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | changes)


def _random(model: Any) -> Any:
    """Draw every weight: norms that are all one, or biases that are all zero, would hide a mix-up."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=0.1)
        parameter.data = parameter.data.to(torch.bfloat16).float()  # `model.to` would round the rotary angles too
    return model.eval()


def _write_model(
    model: Any, folder: Path, config: dict[str, Any], *, shards: int = 1, rename: Any = lambda name: name
) -> None:
    folder.mkdir(parents=True)
    tied = model.config.tie_word_embeddings
    tensors = {
        rename(name): tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        _write_shards(tensors, folder, shards)
    write_json(folder / "config.json", config)


def _write_shards(tensors: dict[str, torch.Tensor], folder: Path, shards: int) -> None:
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = sorted(tensors)[number::shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})


def _exaone_name(name: str) -> str:
    for ours, theirs in EXAONE_NAMES:
        name = name.replace(ours, theirs)
    return name

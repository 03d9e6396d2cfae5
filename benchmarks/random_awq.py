"""Random checkpoints in Llama layout, written as a stream: 4-bit AWQ (GEMM) or plain bf16, for measuring, not for text.

In: a shape and a number of layers. Out: config.json and safetensors shards; the caller adds a tokenizer if needed.
Weights are scaled so that logits stay finite. One random block per kind of weight is repeated, each time from another
offset, so memory stays below 200 MB at any size. merge/awq_format.py reads the AWQ layout back.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.checkpoint import CONFIG, INDEX, write_header

GROUP = 128  # values along the input that share a scale and a zero point
BLOCK = 4 << 20  # values in a random block
PER_SHARD = 100  # tensors
# Bytes per weight. AWQ: a nibble, and its share of the group's zero point (a nibble) and scale (fp16).
BF16_BYTES, AWQ_BYTES = 2.0, 0.5 + (0.5 + 2) / GROUP
SAME_AS_KORMO = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "rms_norm_eps": 1e-5, "attention_bias": False,
    "mlp_bias": False, "tie_word_embeddings": False,
}  # fmt: skip
AWQ = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}

Tensor = tuple[str, str, tuple[int, ...], int]  # name, dtype as safetensors names it, shape, width of a weight's input


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes, under the names that config.json gives them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int

    def linears(self) -> dict[str, tuple[int, int]]:
        """Return one layer's linear modules and their (out, in)."""
        query, key = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        return {
            "self_attn.q_proj": (query, self.hidden_size),
            "self_attn.k_proj": (key, self.hidden_size),
            "self_attn.v_proj": (key, self.hidden_size),
            "self_attn.o_proj": (self.hidden_size, query),
            "mlp.gate_proj": (self.intermediate_size, self.hidden_size),
            "mlp.up_proj": (self.intermediate_size, self.hidden_size),
            "mlp.down_proj": (self.hidden_size, self.intermediate_size),
        }

    def bytes_per_token(self, layers: int, weight: float) -> float:
        """Return the bytes of weights read to decode a token: all linear layers, and the output layer in bf16."""
        return layers * sum(map(prod, self.linears().values())) * weight + 2 * self.vocab_size * self.hidden_size


def write_awq(folder: Path, layers: int, shape: Shape) -> int:
    """Write a random AWQ checkpoint into a new folder; return the bytes of its weights."""
    return _write(folder, layers, shape, {"quantization_config": AWQ})


def write_plain(folder: Path, layers: int, shape: Shape) -> int:
    """Write a random bf16 checkpoint into a new folder; return the bytes of its weights."""
    return _write(folder, layers, shape, {})


def _write(folder: Path, layers: int, shape: Shape, extra: dict[str, Any]) -> int:
    folder.mkdir(parents=True)
    tensors = list(_tensors(layers, shape, packed=bool(extra)))
    places: dict[str, str] = {}
    size = 0
    for start in range(0, len(tensors), PER_SHARD):
        shard, name = tensors[start : start + PER_SHARD], f"model-{start // PER_SHARD + 1:05}.safetensors"
        size += _write_shard(folder / name, shard)
        places |= {tensor[0]: name for tensor in shard}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}))
    config = SAME_AS_KORMO | asdict(shape) | {"num_hidden_layers": layers} | extra
    (folder / CONFIG).write_text(json.dumps(config, indent=1))  # last: a folder with a config is a whole checkpoint
    return size


def _tensors(layers: int, shape: Shape, *, packed: bool) -> Iterator[Tensor]:
    embedding, norm = (shape.vocab_size, shape.hidden_size), (shape.hidden_size,)
    yield "model.embed_tokens.weight", "BF16", embedding, shape.hidden_size
    for layer in (f"model.layers.{i}" for i in range(layers)):
        for name, (out, width) in shape.linears().items():
            if packed:
                yield f"{layer}.{name}.qweight", "I32", (width, out // 8), 0
                yield f"{layer}.{name}.qzeros", "I32", (width // GROUP, out // 8), 0
                yield f"{layer}.{name}.scales", "F16", (width // GROUP, out), width
            else:
                yield f"{layer}.{name}.weight", "BF16", (out, width), width
        yield f"{layer}.input_layernorm.weight", "BF16", norm, 0
        yield f"{layer}.post_attention_layernorm.weight", "BF16", norm, 0
    yield "model.norm.weight", "BF16", norm, 0
    yield "lm_head.weight", "BF16", embedding, shape.hidden_size


def _write_shard(path: Path, tensors: list[Tensor]) -> int:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype, shape, width in tensors:
        offsets = [end, end := end + prod(shape) * _block(dtype, width).itemsize]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    rng = np.random.default_rng(end)
    with path.open("wb") as file:
        write_header(file, header)
        for _, dtype, shape, width in tensors:
            left, start = prod(shape), int(rng.integers(BLOCK))
            while left:
                piece = _block(dtype, width)[start : start + left]
                file.write(piece.data)
                left, start = left - len(piece), 0
    return end


@cache
def _block(dtype: str, width: int) -> NDArray[Any]:
    """Return random values that give a weight's row a length of about 1; ones for a norm (width 0)."""
    rng = np.random.default_rng(width)
    if dtype == "I32":  # eight nibbles
        return rng.integers(-(2**31), 2**31, BLOCK, dtype=np.int32)
    if dtype == "F16":  # a nibble less its zero point is about 6.5 from 0
        return (rng.uniform(0.5, 1.5, BLOCK) / (7.5 * width**0.5)).astype(np.float16)
    if not width:
        return np.full(BLOCK, 0x3F80, dtype=np.uint16)  # 1.0 in bf16
    values = rng.standard_normal(BLOCK, dtype=np.float32) / np.float32(width**0.5)
    return (values.view(np.uint32) >> 16).astype(np.uint16)  # bf16 is the upper half of fp32

"""The model families that the line knows: what their config keys and tensors are called, and as what they are written.

A family whose computation is Llama's is written as Llama: tensors are renamed and their bytes copied, so the logits are
identical to the bit. Qwen's compute something of their own and keep their names. vLLM and AutoAWQ must know what is
written. To add a family: one entry of FAMILIES and one line in docs/families.md.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from core.errors import ArtefactError

PROJECTIONS = r"self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj"
WEIGHTS = (
    r"model\.embed_tokens\.weight|model\.norm\.weight|lm_head\.weight"
    r"|model\.layers\.\d+\.((%s|input_layernorm|post_attention_layernorm%s)\.weight%s)"
)
COMMON_KEYS = frozenset(
    {
        "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim", "hidden_act", "hidden_size",
        "initializer_range", "intermediate_size", "max_position_embeddings", "num_attention_heads",
        "num_hidden_layers", "num_key_value_heads", "pad_token_id", "rms_norm_eps", "rope_parameters", "rope_scaling",
        "rope_theta", "tie_word_embeddings", "torch_dtype", "transformers_version", "use_cache", "vocab_size",
    }
)  # fmt: skip
LLAMA_KEYS = COMMON_KEYS | {"attention_bias", "mlp_bias", "pretraining_tp"}
# How the layers attend over a long text. Messages are short; what matters is that no layer sees less than all.
WINDOW_KEYS = frozenset({"layer_types", "max_window_layers", "sliding_window", "use_sliding_window"})
REPLACED_KEYS = frozenset({"architectures", "auto_map", "model_type"})
# Libraries write them beside the model's own keys; they change neither a weight nor what is computed from it.
HARMLESS = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
        "_model_name_or_path", "_name_or_path", "_unsloth_version", "is_llama_config", "tokenizer_class",
        "transformers.js_config", "unk_token_id", "unsloth_fixed", "unsloth_version",
    }
)  # fmt: skip
SHORTEST_WINDOW = 4096  # tokens; a prompt and its message have far fewer


@dataclass(frozen=True)
class Family:
    """What the line must know of a model family; names are those of Llama and Qwen unless `tensors` renames them."""

    writes: str  # model_type of the imported checkpoint: what transformers, AutoAWQ and vLLM then load
    architecture: str
    keys: frozenset[str]
    weights: re.Pattern[str]  # the names of all tensors, after renaming
    tensors: tuple[tuple[str, str], ...] = ()  # (pattern in a found name, Llama's)
    renamed_keys: dict[str, str] = field(default_factory=dict)  # found key → Llama's
    zero_keys: frozenset[str] = frozenset()  # keys that only training reads, or that must be off


def _names(projections: str = PROJECTIONS, norms: str = "", more: str = "") -> re.Pattern[str]:
    return re.compile(WEIGHTS % (projections, norms, more))


def _llama(**more: Any) -> Family:
    return Family(writes="llama", architecture="LlamaForCausalLM", weights=_names(), **{"keys": LLAMA_KEYS} | more)


FAMILIES = {
    # SmolLM2 is one; transformers reads none of its own keys.
    "llama": _llama(zero_keys=frozenset({"rope_interleaved"})),
    # Llama with two norms named differently.
    "kormo": _llama(
        tensors=(
            (r"\.pre_attention_layernorm\.", ".input_layernorm."),
            (r"\.pre_mlp_layernorm\.", ".post_attention_layernorm."),
        )
    ),
    # Llama with a window, which newer ones leave open.
    "mistral": _llama(keys=LLAMA_KEYS | WINDOW_KEYS),
    # EXAONE 3.0 and 3.5: Llama under GPT-2's names. Its licence forbids commercial use.
    "exaone": _llama(
        tensors=(
            (r"^transformer\.wte\.", "model.embed_tokens."),
            (r"^transformer\.ln_f\.", "model.norm."),
            (r"^transformer\.h\.", "model.layers."),
            (r"\.attn\.attention\.out_proj\.", ".self_attn.o_proj."),
            (r"\.attn\.attention\.", ".self_attn."),
            (r"\.mlp\.c_fc_0\.", ".mlp.gate_proj."),
            (r"\.mlp\.c_fc_1\.", ".mlp.up_proj."),
            (r"\.mlp\.c_proj\.", ".mlp.down_proj."),
            (r"\.ln_1\.", ".input_layernorm."),
            (r"\.ln_2\.", ".post_attention_layernorm."),
        ),
        renamed_keys={
            "activation_function": "hidden_act",
            "layer_norm_epsilon": "rms_norm_eps",
            "num_layers": "num_hidden_layers",
        },
        zero_keys=frozenset({"embed_dropout"}),
    ),
    # Biases on three projections.
    "qwen2": Family(
        writes="qwen2",
        architecture="Qwen2ForCausalLM",
        keys=COMMON_KEYS | WINDOW_KEYS,
        weights=_names(more=r"|self_attn\.[qkv]_proj\.bias"),
        zero_keys=frozenset({"use_mrope"}),
    ),
    # Norms on queries and keys.
    "qwen3": Family(
        writes="qwen3",
        architecture="Qwen3ForCausalLM",
        keys=COMMON_KEYS | WINDOW_KEYS | {"attention_bias"},
        weights=_names(norms=r"|self_attn\.[qk]_norm"),
    ),
}


def family_of(config: dict[str, Any], source: object) -> Family:
    """Return the family that a config names.

    Raises:
        ArtefactError: the line does not know it.
    """
    found = config.get("model_type")
    if found not in FAMILIES:
        raise ArtefactError(
            f"{source}: model_type {found!r} is not one of {', '.join(sorted(FAMILIES))}.",
            "Use a base of these families; docs/families.md says what another one would need.",
        )
    return FAMILIES[found]


def imported_config(config: dict[str, Any], source: object) -> tuple[dict[str, Any], list[str]]:
    """Map a config key by key; return it, and the keys that were dropped because they change nothing.

    Raises:
        ArtefactError: an unknown family or key, a quantized checkpoint, or layers that see only a part of the text.
    """
    family = family_of(config, source)
    if config.get("quantization_config"):
        raise ArtefactError(
            f"{source}: this checkpoint is quantized already.",
            "Use the 16-bit checkpoint that it was made from: an adapter is folded into unquantised weights.",
        )
    _refuse_windows(config, source)
    known = {family.renamed_keys.get(key, key): value for key, value in config.items() if key not in REPLACED_KEYS}
    idle = HARMLESS | (family.keys & WINDOW_KEYS) | {key for key in family.zero_keys if not known.get(key)}
    kept = family.keys if family.writes != "llama" else family.keys - WINDOW_KEYS
    dropped = sorted(key for key in known.keys() - kept if key in idle or known[key] is None)
    if unknown := sorted(known.keys() - kept - set(dropped)):
        raise ArtefactError(
            f"{source}: unknown keys {', '.join(unknown)}.",
            "Find out what they change. Remove from config.json those that change nothing; a base with others is not "
            "supported.",
        )
    shared = {key: value for key, value in known.items() if key in kept}
    return {"architectures": [family.architecture], "model_type": family.writes, **shared}, dropped


def _refuse_windows(config: dict[str, Any], source: object) -> None:
    """Refuse a model whose layers may see less than a whole prompt and message."""
    used = config.get("use_sliding_window", config.get("model_type") == "mistral")
    window = config.get("sliding_window") if used else None
    kinds = set(config.get("layer_types") or ()) - {"full_attention"}
    if kinds or (window is not None and window < SHORTEST_WINDOW):
        raise ArtefactError(
            f"{source}: its layers see only a part of the text ({', '.join(sorted(kinds)) or f'{window} tokens'}).",
            "Use a base with full attention.",
        )


def imported_name(name: str, family: Family) -> str:
    """Return the name under which a tensor is written.

    Raises:
        ArtefactError: the family has no such tensor.
    """
    for found, ours in family.tensors:
        name = re.sub(found, ours, name)
    if not family.weights.fullmatch(name):
        raise ArtefactError(
            f"Unknown tensor {name}: it is not of the family that config.json names.", "Nothing was imported."
        )
    return name


def to_kormo(name: str) -> str:
    """Return a Llama tensor's KORMo name."""
    name = name.replace(".input_layernorm.", ".pre_attention_layernorm.")
    return name.replace(".post_attention_layernorm.", ".pre_mlp_layernorm.")

"""A tiny KORMo-layout checkpoint with random weights, and KORMo's decoder written out under its own names."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm

from training.families import to_kormo
from training.nano.export import kormo_config
from training.nano.tokenizer import train_tokenizer


def tiny_llama(vocabulary: int = 128) -> LlamaForCausalLM:
    """Return a Llama whose norms are random too, so that swapping them changes the logits."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model.to(torch.bfloat16)


def write_kormo(folder: Path, model: LlamaForCausalLM, *, shards: int = 1) -> Path:
    """Write a model as a KORMo checkpoint, in one file or several with an index."""
    folder.mkdir(parents=True)
    tensors = {to_kormo(name): tensor for name, tensor in model.state_dict().items()}
    names = sorted(tensors)
    files = (
        [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)] if shards > 1 else ["model.safetensors"]
    )
    parts = {file: names[i::shards] for i, file in enumerate(files)}
    for file, part in parts.items():
        save_file({name: tensors[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
    if shards > 1:
        weight_map = {name: file for file, part in parts.items() for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(kormo_config(model)))
    return folder


def write_tokenizer(folder: Path) -> None:
    """Put the nano tokenizer beside a checkpoint."""
    train_tokenizer(0).save_pretrained(folder)


class KormoLayer(nn.Module):
    """One decoder layer under KORMo's names."""

    def __init__(self, config: LlamaConfig, index: int) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config, index)
        self.mlp = LlamaMLP(config)
        self.pre_attention_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.pre_mlp_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, **options: torch.Tensor) -> torch.Tensor:
        attended, _ = self.self_attn(hidden_states=self.pre_attention_layernorm(hidden_states), **options)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.pre_mlp_layernorm(hidden_states))


def kormo_reference(folder: Path) -> LlamaForCausalLM:
    """Load a KORMo checkpoint into KORMo-named layers, strictly by name, in fp32."""
    from safetensors.torch import load_file

    content = json.loads((folder / "config.json").read_text())
    for key in ("architectures", "model_type"):
        del content[key]
    model = LlamaForCausalLM(LlamaConfig(**content)).float().eval()
    model.model.layers = nn.ModuleList(KormoLayer(model.config, i) for i in range(model.config.num_hidden_layers))
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    return model

"""Run a checkpoint layer by layer in fp32: one layer and a few rows in memory, whatever the model's size.

The proofs need exact log-probabilities of a few dozen rows, for models larger than the machine's memory.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from rich.progress import track
from safetensors.torch import load_file
from transformers import AutoConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm, Qwen2RotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, Qwen3RMSNorm, Qwen3RotaryEmbedding

from merge.weights import Weights
from training.qat import see_rounding
from training.tokenization import TokenRow

# transformers' layer, norm and rotary embedding of each family that an import writes (training/families.py)
MODULES: dict[str, tuple[Any, Any, Any]] = {
    "llama": (LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding),
    "qwen2": (Qwen2DecoderLayer, Qwen2RMSNorm, Qwen2RotaryEmbedding),
    "qwen3": (Qwen3DecoderLayer, Qwen3RMSNorm, Qwen3RotaryEmbedding),
}
EMBEDDING = "model.embed_tokens.weight"
VOCABULARY_BLOCK = 16384  # rows of the head in fp32 at once


class Streamed:
    """A model that reads each layer's weights only when it runs that layer.

    Args:
        folder: a checkpoint folder, for its config.
        weights: the source of the tensors.
        adapter: a PEFT adapter folder; PEFT itself computes it, unmerged, beside each layer.
        qat_group: the adapter sees matrices that are rounded in such groups, as in quantization-aware training.
    """

    def __init__(
        self, folder: Path, weights: Weights, adapter: Path | None = None, qat_group: int | None = None
    ) -> None:
        self._config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, attn_implementation="sdpa")
        self._decoder, self._norm, self._rotary = MODULES[self._config.model_type]
        self._weights = weights
        self._qat_group = qat_group
        self._lora: Any = LoraConfig.from_pretrained(str(adapter)) if adapter else None
        self._factors = load_file(adapter / "adapter_model.safetensors") if adapter else {}
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @torch.inference_mode()
    def logprobs(self, rows: list[TokenRow], what: str) -> list[torch.Tensor]:
        """Return, per row, the log-probabilities (completion tokens, vocabulary), fp32, that predict the completion."""
        states = self._embedded(rows)
        rotary = self._rotary(self._config).to(self._device)
        places = [torch.arange(len(ids), device=self._device).unsqueeze(0) for ids, _ in rows]
        angles = [rotary(state, place) for state, place in zip(states, places, strict=True)]
        for index in track(range(self._config.num_hidden_layers), what, transient=True):
            layer = self._layer(index)
            states = [layer(s, position_embeddings=a) for s, a in zip(states, angles, strict=True)]
        with torch.device(self._device):
            norm = self._norm(self._config.hidden_size, self._config.rms_norm_eps)
        norm.load_state_dict({"weight": self._ready("model.norm.weight")})
        ends = [norm(state[0, prompt - 1 : -1]) for state, (_, prompt) in zip(states, rows, strict=True)]
        return list(self._head(torch.cat(ends)).log_softmax(-1).split([len(end) for end in ends]))

    def _embedded(self, rows: list[TokenRow]) -> list[torch.Tensor]:
        table, trained = self._weights(EMBEDDING), self._trained_rows(EMBEDDING)

        def embedded(ids: list[int]) -> torch.Tensor:
            state = table[torch.tensor(ids)].float()
            for place, token in enumerate(ids):
                if token in trained:
                    state[place] = trained[token]
            return state.unsqueeze(0).to(self._device)

        return [embedded(ids) for ids, _ in rows]

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        name = EMBEDDING if self._config.tie_word_embeddings else "lm_head.weight"
        blocks = [states @ b.to(self._device, torch.float32).T for b in self._weights(name).split(VOCABULARY_BLOCK)]
        logits = torch.cat(blocks, -1).cpu()
        for token, row in self._trained_rows(name).items():
            logits[:, token] = (states @ row.to(self._device)).cpu()
        return logits

    def _layer(self, index: int) -> Any:
        prefix = f"model.layers.{index}."
        with torch.device("meta"):
            layer = self._decoder(self._config, index)
        layer.load_state_dict({name: self._ready(prefix + name) for name in layer.state_dict()}, assign=True)
        if self._lora:
            self._inject(layer, f"base_model.model.{prefix}")
        return layer.eval()

    def _inject(self, layer: Any, prefix: str) -> None:
        config = LoraConfig(**{**self._lora.to_dict(), "trainable_token_indices": None})
        mine = {key.removeprefix(prefix): value for key, value in self._factors.items() if key.startswith(prefix)}
        inject_adapter_in_model(config, layer)
        set_peft_model_state_dict(layer, mine)
        if self._qat_group:
            see_rounding(layer, self._qat_group)

    def _trained_rows(self, name: str) -> dict[int, torch.Tensor]:
        """Return the rows of the embedding or the head that the adapter trained for new tokens, by token id."""
        delta = self._factors.get(f"base_model.model.{name.removesuffix('weight')}token_adapter.trainable_tokens_delta")
        if delta is None:
            return {}
        ids = self._lora.trainable_token_indices[name.removesuffix(".weight").removeprefix("model.")]
        return dict(zip(ids, delta.float(), strict=True))

    def _ready(self, name: str) -> torch.Tensor:
        return self._weights(name).to(self._device, torch.float32)

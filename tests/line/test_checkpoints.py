"""Other families' 4-bit checkpoints in a real vLLM: loaded as AWQ, prompts read as in training, the proven logits.

One process loads them one after the other: importing vLLM takes longer than all of them.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from core.prompt import GOLDEN, build_messages
from core.reading import Reading
from merge.layerwise import Streamed
from merge.stages import run_fold, run_quantize
from merge.weights import Checkpoint, Weights, awq_weights
from serve.flags import CPU_BLOCK, on_cpu, vllm_environment
from tests.support import families as tiny
from training.settle import ANSWER
from training.tokenization import TokenRow, load_tokenizer, row_ids

WRITERS = {
    "qwen2": tiny.write_qwen2,
    "qwen3": tiny.write_qwen3,
    "mistral": tiny.write_mistral,
    "exaone": tiny.write_exaone,
}
MESSAGES = [build_messages(*GOLDEN), build_messages(Reading(-12, -3))]
LIKELIEST = 5
# Nats, fp32 against bf16; where the CPU has AMX, vLLM also rounds what 4-bit weights are multiplied with to 8 bits.
CLOSE = 0.12 if torch.cpu._is_amx_tile_supported() else 0.1  # as vLLM asks
FAR = 0.3
ON_CPU = {"kv_cache_memory_bytes": 32 << 20, "block_size": CPU_BLOCK}
OPTIONS = {"enforce_eager": True, "max_model_len": 256, "max_num_seqs": 2, **(ON_CPU if on_cpu() else {})}
ASK = """
import gc, json, pathlib, sys
from vllm import LLM, SamplingParams

folders, messages, options, target = json.loads(sys.argv[1])
found = {}
for name, folder in folders.items():
    llm = LLM(model=folder, **options)
    asked = SamplingParams(ignore_eos=True, temperature=0, max_tokens=4, logprobs=%d)
    answers = llm.chat(messages, asked, use_tqdm=False)
    found[name] = {
        "quantization": llm.llm_engine.vllm_config.model_config.quantization,
        "prompts": [answer.prompt_token_ids for answer in answers],
        "answers": [answer.outputs[0].token_ids for answer in answers],
        "first": [{i: p.logprob for i, p in answer.outputs[0].logprobs[0].items()} for answer in answers],
    }
    del llm
    gc.collect()
pathlib.Path(target).write_text(json.dumps(found, default=list))
"""


@dataclass(frozen=True)
class Asked:
    """The checkpoints and, by family, what vLLM made of them."""

    folders: dict[str, Path]
    answers: dict[str, dict[str, Any]]

    def rows(self, family: str) -> list[TokenRow]:
        """Return the requested prompts as training sees them, each with an answer."""
        tokenizer = load_tokenizer(self.folders[family].parent / "base")
        answer = [{"role": "assistant", "content": ANSWER}]
        return [row_ids(tokenizer, {"prompt": prompt, "completion": answer}) for prompt in MESSAGES]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Fold and quantize each family's checkpoint, and ask vLLM."""
    folder, folders = tmp_path_factory.mktemp("checkpoints"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for family, write in WRITERS.items():
            write(Path(f"{family}-source"))
            recipe = tiny.build_line(family, Path(f"{family}-source"))
            run_fold(recipe)
            run_quantize(recipe)
            folders[family] = folder / recipe.folder / "awq"
        environment = vllm_environment(recipe, cpu=on_cpu())
    request = [{family: str(path) for family, path in folders.items()}, MESSAGES, OPTIONS, str(folder / "found.json")]
    command = [sys.executable, "-c", ASK % LIKELIEST, json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Asked(folders, json.loads((folder / "found.json").read_text()))


@pytest.mark.parametrize("family", WRITERS)
def test_vllm_loads_4_bit_weights_and_reads_prompts_as_the_tokens_of_training(asked: Asked, family: str) -> None:
    found = asked.answers[family]
    assert "awq" in found["quantization"]
    assert found["prompts"] == [ids[:prompt] for ids, prompt in asked.rows(family)]
    assert [len(answer) for answer in found["answers"]] == [4, 4]


@pytest.mark.parametrize("family", WRITERS)
def test_vllm_computes_what_was_proven(asked: Asked, family: str) -> None:
    """The proofs run transformers' layers in fp32; vLLM has its own, in bf16."""
    folder = asked.folders[family]
    assert furthest(asked, family, awq_weights(folder)) < CLOSE
    assert furthest(asked, family, Checkpoint(folder.parent / "merged")) > FAR, "the 16-bit weights"


def furthest(asked: Asked, family: str, weights: Weights) -> float:
    """Return how far vLLM's log-probabilities of the likeliest first tokens are from those of the weights, nats."""
    proven = Streamed(asked.folders[family], weights).logprobs(asked.rows(family), "AWQ")
    pairs = zip(asked.answers[family]["first"], proven, strict=True)
    return max(abs(float(value) - float(row[0, int(token)])) for first, row in pairs for token, value in first.items())

"""Every key of the recipe's serve section arrives in vLLM's flags or its environment; one is the gateway's."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import GenerationSection, LoraSection, Recipe, ServeSection, TrainSection
from serve import flags

# No value is its key's default.
SERVE = ServeSection(
    model_name="park-writer",
    max_model_len=384,
    max_num_seqs=7,
    kv_cache_gib=0.5,
    cpu_threads=3,
    gpu_memory_utilization=0.625,
    enforce_eager=True,
    drafting=True,
    draft_tokens=5,
    draft_threshold=0.5,
)
RECIPE = Recipe(
    name="other",
    seed=23,
    serve=SERVE,
    train=TrainSection(lora=LoraSection(rank=48)),
    generation=GenerationSection(temperature=0.3),
)
ELSEWHERE = {"words", "weights"}  # no flags of vLLM's: test_supervisor.py, test_weights.py
DRAFTS = {"drafting", "draft_tokens", "draft_threshold"}  # only for a checkpoint with a table
CPU, GPU = (True,), (False,)
# Key → the flag or variable, what it must be, and on which machines.
ARRIVES: dict[str, tuple[str, str, tuple[bool, ...]]] = {
    "model_name": ("--served-model-name", "park-writer", CPU + GPU),
    "max_model_len": ("--max-model-len", "384", CPU + GPU),
    "max_num_seqs": ("--max-num-seqs", "7", CPU + GPU),
    "kv_cache_gib": ("--kv-cache-memory-bytes", str(2**29), CPU),
    "cpu_threads": ("OMP_NUM_THREADS", "3", CPU),
    "gpu_memory_utilization": ("--gpu-memory-utilization", "0.625", GPU),
    "enforce_eager": ("--enforce-eager", "", CPU + GPU),
    "seed": ("--seed", "23", CPU + GPU),
}


def told(recipe: Recipe, *, cpu: bool) -> dict[str, str]:
    """Return flags and environment of a recipe's server."""
    given = flags.vllm_flags(recipe, Path("runs/other/awq"), 384, "127.0.0.1", 8000, cpu=cpu)
    return flags.vllm_environment(recipe, cpu=cpu) | {
        name: value for name, _, value in (flag.partition("=") for flag in given)
    }


def test_no_serve_key_is_left_out_and_none_has_its_default_value() -> None:
    keys = ServeSection.model_fields.keys() - ELSEWHERE
    assert ARRIVES.keys() | DRAFTS == keys | {"seed"}
    assert [key for key in keys if getattr(SERVE, key) == ServeSection.model_fields[key].default] == []


@pytest.mark.parametrize("cpu", [True, False], ids=["CPU", "GPU"])
@pytest.mark.parametrize("key", ARRIVES)
def test_every_serve_key_and_the_seed_arrive_in_vllms_flags(
    key: str, cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(flags, "can_compile", lambda: True)
    name, value, machines = ARRIVES[key]
    assert told(RECIPE, cpu=cpu).get(name) == (value if cpu in machines else None)


def test_how_to_draft_arrives_in_vllms_flags() -> None:
    given = dict(flag.split("=", 1) for flag in flags.drafting_flags(RECIPE))
    method = json.loads(given["--speculative-config"])
    assert method == {"method": "custom_class", "model": "serve.drafting.TableProposer", "num_speculative_tokens": 5}
    assert json.loads(given["--additional-config"]) == {"draft_threshold": 0.5}


def test_the_adapter_is_served_under_the_models_name_with_room_for_its_rank(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    given = flags.lora_flags(RECIPE, tmp_path)
    assert {"--max-lora-rank=48", f"--lora-modules=park-writer={tmp_path}", "--served-model-name=base"} < set(given)


def test_the_recipes_sampling_is_given_to_a_checkpoint_without_its_own() -> None:
    (flag,) = flags.generation_flags(RECIPE, 72)
    sampling: dict[str, Any] = json.loads(flag.removeprefix("--override-generation-config="))
    assert sampling == RECIPE.generation.model_dump() | {"max_new_tokens": 72}
    assert sampling["temperature"] == 0.3

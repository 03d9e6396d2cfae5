"""What is served is 4 bit: the tensors in the server's memory, not what a config says about them."""

import math
import os
from pathlib import Path

import httpx
import pytest

from core.ports import free_port
from pipeline.recipe import Recipe
from serve.launch import Variant, prepare
from serve.settings import ServeSettings
from tests.conftest import ROOT
from tests.support.served_weights import EXTENSION, Weight
from training.checkpoint import read_header, read_json, weight_files
from training.qat import is_quantized

# Bytes beside the weights, for each group of them: a 16-bit scale and a 4-bit zero; or, where the CPU has AMX and vLLM
# multiplies 8-bit integers, a 32-bit scale, a 32-bit sum and an 8-bit zero.
BESIDE = (2.5, 9)


@pytest.mark.parametrize(("variant", "four_bit"), [(Variant.AWQ, True), (Variant.MERGED, False)])
def test_the_served_process_holds_four_bit_matrices(
    line: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, variant: Variant, four_bit: bool
) -> None:
    os.chdir(ROOT)
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")  # opens /collective_rpc
    server = prepare(recipe, ServeSettings(port=free_port()), variant).server
    server.command.append(f"--worker-extension-cls={EXTENSION}")
    with server:
        url = server.url.removesuffix("/v1")
        answer = httpx.post(f"{url}/collective_rpc", json={"method": "served_weights"}, timeout=60)
    weights: dict[str, Weight] = answer.json()["results"][0]
    in_layers = {name: weight for name, weight in weights.items() if "_proj" in name}
    held = sum(weight["bytes"] for weight in in_layers.values())
    packed = sum(weight["bytes"] for weight in in_layers.values() if weight["dtype"].startswith(("int", "uint")))
    numbers = sum(
        math.prod(entry["shape"])
        for file in weight_files(line / "merged")
        for name, entry in read_header(line / "merged" / file)[0].items()
        if is_quantized(name)
    )
    four_bits = numbers / 2
    if four_bit:
        groups = numbers / read_json(line / "awq" / "config.json")["quantization_config"]["group_size"]
        assert four_bits <= packed <= held
        assert (held - four_bits) / groups in BESIDE
    else:  # the check can tell: a CPU keeps 16-bit matrices in a form of its own, out of sight
        assert packed == 0
        assert held in (0, numbers * 2)

"""The benchmark's contenders on a real run: the original's server, llama.cpp's weights."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.scene import SCENE
from benchmarks.scripted_server import eventually
from benchmarks.speed.llama_cpp import write_gguf
from core.checks import check_message
from core.ports import free_port
from core.reading import Reading
from pipeline.recipe import Recipe
from tests.conftest import ROOT
from tests.line.conftest import NAME


@contextmanager
def original_server(*options: str) -> Iterator[str]:
    """Run the original's server on the session's line."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.baseline_server", f"--port={port}", f"--set=name={NAME}", *options]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            assert eventually(lambda: _answers(url), timeout=120)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("options", [(), ("--stop", "--merged"), ("--quantization=4bit",)])
def test_the_original_writes_right_messages_too(line: Path, options: tuple[str, ...]) -> None:
    assert line.exists()
    with original_server(*options) as url:
        for reading in (Reading(10, 20), Reading(30, 38), Reading(20, 15)):
            # The original samples and checks nothing, so one answer of a good model may be wrong; three are not.
            answers = [_ask(url, reading) for _ in range(3)]
            assert not all(check_message(answer["generated_text"], reading, SCENE) for answer in answers), answers
            assert all(answer["generation_time"] > 0 for answer in answers)


def _ask(url: str, reading: Reading) -> dict[str, Any]:
    body = {"yesterday_temp": reading.yesterday, "today_temp": reading.today}
    answer: dict[str, Any] = httpx.post(f"{url}/generate/temperature", json=body, timeout=60, trust_env=False).json()
    return answer


def test_llama_cpp_gets_the_merged_weights(line: Path, recipe: Recipe) -> None:
    merged = {k: v.float() for f in (line / "merged").glob("*.safetensors") for k, v in load_file(f).items()}
    found = {t.name: t for t in gguf.GGUFReader(write_gguf(recipe, "F16")).tensors}
    assert len(found) == len(merged)
    head = gguf.dequantize(found["output.weight"].data, found["output.weight"].tensor_type)
    np.testing.assert_allclose(head, merged["lm_head.weight"].half().float().numpy(), atol=1e-3)
    # llama.cpp turns neighbours (0, 1) of a head where transformers turns halves (0, 32)
    query = torch.tensor(gguf.dequantize(found["blk.0.attn_q.weight"].data, found["blk.0.attn_q.weight"].tensor_type))
    ours = merged["model.layers.0.self_attn.q_proj.weight"]
    torch.testing.assert_close(query[0:2], ours[[0, 32]], atol=1e-3, rtol=1e-3)

"""The whole line, end to end: two temperatures in, a message of the 4-bit model out of a real vLLM server."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from clients import AsyncSignboardClient, SignboardClient
from core.checks import check_message
from core.errors import StageError
from core.park import Scene
from core.ports import free_port
from core.prompt import build_messages
from core.reading import Reading
from data.scenes import cases
from data.sets import handwritten
from evaluation.ask import ask_raw
from evaluation.scores import score
from merge.stages import prove_prompt
from pipeline.manifest import Manifest, verify
from serve.flags import CPU_PASS
from serve.process import ModelServer
from tests.conftest import ROOT, run_room
from tests.line.conftest import NAME
from training.tokenization import load_tokenizer, prompt_ids

EIGHT = [(10, 20), (5, 20), (35, 22), (30, 38), (20, 15), (-5, 8), (3, -12), (24, 24)]


def bare_call(server: ModelServer, reading: Reading, scene: Scene | None = None, **extra: Any) -> Any:
    client = openai.OpenAI(base_url=server.url, api_key="none", timeout=60, max_retries=0)
    messages: Any = build_messages(reading, scene)
    with client:
        return client.chat.completions.create(model="signboard", messages=messages, **extra)


def test_every_artefact_verifies_down_to_the_hashes(line: Path) -> None:
    chain = verify(line / "awq", full=True)
    assert {ancestor.stage for ancestor in chain.ancestors.values()} == {"data", "base", "adapter", "merged"}


def test_an_artefact_is_verified_wherever_it_was_copied_to(line: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(line / "awq", tmp_path / "awq")
    done = run_room("pipeline", "verify", str(copied))
    assert done.returncode == 0, done.stderr
    assert all(stage in done.stdout for stage in ("data", "base", "adapter", "merged", "awq"))
    with (copied / "chat_template.jinja").open("a") as file:
        file.write(" ")
    done = run_room("pipeline", "verify", str(copied))
    assert done.returncode == 1
    assert "chat_template.jinja" in done.stderr


def card_of(artefact: Path) -> str:
    """Return the model card with its tables' padding taken out."""
    return re.sub(r" +", " ", (artefact / "README.md").read_text())


def test_the_card_shows_the_checkpoints_provenance(line: Path) -> None:
    for stage in ("merged", "awq"):
        card = card_of(line / stage)
        chain = verify(line / stage)
        for link in chain.ancestors.values():
            assert f"| {link.stage} | {link.id[:16]} |" in card
        assert json.loads((line / stage / "prompt.json").read_text())["fingerprint"] in card
        for key in ("loss_merged", "loss_awq"):
            assert key not in chain.results or f"| {chain.results[key]:,} |" in card


def edit_template(awq: Path) -> str:
    path = awq / "chat_template.jinja"
    path.write_text(path.read_text().replace("assistant", "Assistant"))
    return "chat_template.jinja is not the file that was built"


def truncate_weights(awq: Path) -> str:
    path = awq / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return "model.safetensors has"


def corrupt_weights(awq: Path) -> str:
    content = bytearray((awq / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (awq / "model.safetensors").write_bytes(content)
    return "model.safetensors is not the file that was built"


def swap_weights(awq: Path) -> str:
    shutil.copyfile(awq.parent.parent / NAME / "merged/model.safetensors", awq / "model.safetensors")
    return "model.safetensors has"


def put_another_base(awq: Path) -> str:
    content = json.loads((awq / "manifest.json").read_text())
    base = next(key for key, link in content["ancestors"].items() if link["stage"] == "base")
    other = content["ancestors"][base] | {"settings": {"chat_format": "chatml"}}
    content["ancestors"][Manifest.model_validate(other).id] = other
    (awq / "manifest.json").write_text(json.dumps(content))
    return "was made from two versions of the base"


@pytest.mark.parametrize(
    "damage",
    [edit_template, truncate_weights, corrupt_weights, swap_weights, put_another_base],
    ids=lambda f: f.__name__,
)
def test_a_damaged_checkpoint_is_rejected_by_name_and_not_served(line: Path, damage: Callable[[Path], str]) -> None:
    run = ROOT / "runs" / "pytest-damaged"
    shutil.rmtree(run, ignore_errors=True)
    expected = damage(Path(shutil.copytree(line / "awq", run / "awq")))
    done = run_room("evaluation", "demo", "--set", "name=pytest-damaged")
    shutil.rmtree(run)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "make merge" in done.stderr


def test_running_twice_changes_nothing(line: Path) -> None:
    stages = ("data", "base", "adapter", "merged", "awq", "verdict")
    before = {line / stage / "manifest.json": (line / stage / "manifest.json").read_bytes() for stage in stages}
    for arguments in (("data", "build"), ("training", "sft"), ("merge", "all")):
        done = run_room(*arguments, "--set", f"name={NAME}")
        assert done.returncode == 0, done.stderr
        assert "up to date" in done.stdout
    assert {path: path.read_bytes() for path in before} == before


def test_a_bare_call_stops_by_itself_with_a_clean_message(server: ModelServer) -> None:
    answers = asyncio.run(ask_raw(list(cases(1, 9)), server.url, "signboard", "none"))
    scores = score(answers)
    assert scores.answers == 387
    assert scores.stopped == 1.0
    assert scores.labels == 0.0
    # 96.5 % of the whole grid pass (docs/LOG.md); of 387, fewer than 93 % would be no luck (3.7 standard deviations)
    assert scores.passes >= 0.93
    assert scores.distinct > 0.9
    assert scores.elements >= 6  # what is composed for these cases names 9 to 13


def test_a_bare_call_samples_as_the_checkpoint_says(server: ModelServer) -> None:
    reading = Reading(10, 20)
    sampled = {bare_call(server, reading).choices[0].message.content for _ in range(6)}
    greedy = {bare_call(server, reading, temperature=0).choices[0].message.content for _ in range(3)}
    assert len(sampled) > 1
    assert len(greedy) == 1


@pytest.mark.parametrize("row", handwritten()["test"], ids=lambda row: f"{row.reading.yesterday}_{row.reading.today}")
def test_training_tokens_are_serving_tokens(server: ModelServer, line: Path, row: Any) -> None:
    expected = prompt_ids(load_tokenizer(line / "base"), build_messages(row.reading, row.scene))
    body = {"model": "signboard", "messages": build_messages(row.reading, row.scene), "add_generation_prompt": True}
    tokenized = httpx.post(f"{server.url.removesuffix('/v1')}/tokenize", json=body, timeout=30).json()
    answered = bare_call(server, row.reading, row.scene, extra_body={"return_token_ids": True})
    assert tokenized["tokens"] == expected
    assert answered.prompt_token_ids == expected
    assert answered.choices[0].token_ids[-1] == load_tokenizer(line / "awq").eos_token_id


@pytest.mark.parametrize("scene", [None, Scene.of("여름", ["산책로", "벤치", "분수대"])], ids=["plain", "in a park"])
def test_the_client_gives_checked_messages(server: ModelServer, scene: Scene | None) -> None:
    with SignboardClient(server.url) as client:
        messages = [client.say(yesterday, today, scene=scene) for yesterday, today in EIGHT]
    for message in messages:
        assert check_message(message.text, message.reading, scene) == []
        assert 1 <= message.tries <= 4
    assert len({message.text for message in messages}) == len(messages)


def test_the_async_client_sends_concurrent_requests(server: ModelServer) -> None:
    async def ask() -> list[str]:
        async with AsyncSignboardClient(server.url) as client:
            return [m.text for m in await asyncio.gather(*(client.say(10, 20.4) for _ in range(40)))]

    texts = asyncio.run(ask())
    assert all(check_message(text, Reading(10, 20)) == [] for text in texts)


def test_many_long_prompts_with_seeds_leave_the_server_alive(server: ModelServer) -> None:
    """A prompt that is read in two passes would kill the engine, if its request has a seed (docs/vllm-cpu-seeds.md)."""

    async def ask(client: httpx.AsyncClient, seed: int) -> httpx.Response:
        told = [
            {"role": "user", "content": f"{seed} " + "어제 12도, 오늘 7도 " * 40}
        ]  # no two begin alike, or little is read
        body = {"model": "signboard", "seed": seed, "max_tokens": 4, "messages": told}
        return await client.post(f"{server.url}/chat/completions", json=body)

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            return await asyncio.gather(*(ask(client, seed) for seed in range(16)))

    answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200] * 16
    assert sum(answer.json()["usage"]["prompt_tokens"] for answer in answers) > 2 * CPU_PASS


def test_the_server_announces_the_trained_prompts_fingerprint(server: ModelServer, line: Path) -> None:
    record = json.loads((line / "awq/prompt.json").read_text())
    assert record == json.loads((line / "adapter/prompt.json").read_text())
    answer = bare_call(server, Reading(10, 20))
    assert answer.system_fingerprint == record["fingerprint"]
    assert httpx.get(f"{server.url}/models", timeout=30).json()["data"][0]["id"] == "signboard"


def test_ping_tells_ready_and_rejects_another_prompt(server: ModelServer, line: Path) -> None:
    known = json.loads((line / "awq/prompt.json").read_text())["fingerprint"]
    done = run_room("clients", "ping", "--url", server.url, "--fingerprint", known)
    assert (done.returncode, done.stdout) == (0, f"ready: {known}\n")
    wrong = run_room("clients", "ping", "--url", server.url, "--fingerprint", "signboard-2-81-0123456789abcdef")
    assert wrong.returncode == 1
    assert "other tokens than the model was trained on" in wrong.stderr


def test_a_changed_prompt_or_template_fails_the_build(line: Path, tmp_path: Path) -> None:
    for name in ("awq", "adapter"):
        shutil.copytree(line / name, tmp_path / name)
    prove_prompt(tmp_path / "adapter", line / "data", tmp_path / "awq")
    template = tmp_path / "awq/chat_template.jinja"
    template.write_text('{{ "\\n" }}' + template.read_text())
    with pytest.raises(StageError, match="other tokens of the rows"):
        prove_prompt(tmp_path / "adapter", line / "data", tmp_path / "awq")


def test_a_wrong_model_name_is_the_servers_error(server: ModelServer) -> None:
    done = run_room("clients", "say", "10", "20", "--url", server.url, "--model", "nobody")
    assert done.returncode == 1
    assert "404" in done.stderr
    assert done.stdout == ""


def test_say_on_the_command_line(server: ModelServer) -> None:
    done = run_room("clients", "say", "-5", "7.5", "--url", server.url, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["reading"] == {"yesterday": -5, "today": 8}
    assert check_message(said["text"], Reading(-5, 8)) == []


def test_evaluate_on_the_command_line(server: ModelServer, tmp_path: Path) -> None:
    done = run_room("evaluation", "grid", "--url", server.url, "--every", "100", "--out", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["client"]["scores"]["passes"] == 1.0
    assert len(report["raw"]["answers"]) == 35
    assert "passes every check" in done.stdout


def test_a_taken_port_is_rejected(server: ModelServer) -> None:
    port = server.url.removesuffix("/v1").rsplit(":", 1)[1]
    done = run_room("serve", "vllm", "--set", f"name={NAME}", "--port", port)
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_stops_on_sigterm_and_leaves_nothing(line: Path, tmp_path: Path) -> None:
    assert line.is_dir()
    command = [sys.executable, "-m", "serve", "vllm", "--set", f"name={NAME}", "--port", str(free_port())]
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    try:
        while b"ready" not in output.read_bytes():
            assert process.poll() is None, output.read_text()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2  # the API server and the engine
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert len(gone) == len(family)
    assert "stopped" in output.read_text()

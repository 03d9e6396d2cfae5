"""docker-compose.yml without Docker: its commands and flags, and that vLLM's own parser accepts the flags."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.ports import free_port
from core.prompt import GOLDEN, build_messages, prompt_name
from gateway.settings import GatewaySettings, read_gateway_settings
from pipeline.environment import OFFLINE
from pipeline.graph import MADE_FROM
from pipeline.recipe import load_recipe
from pipeline.stage import run_stage
from serve.flags import DRAIN_SECONDS
from serve.launch import prepare, wanted_variant
from serve.router import given_servers
from serve.settings import ServeSettings, read_settings
from tests.conftest import ROOT, run_room

PROMPT = {
    "version": 2,
    "messages": build_messages(*GOLDEN),
    "fingerprint": "signboard-2-80-0123456789abcdef",
    "longest_prompt": 130,
    "longest_message": 40,
}
PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
for flags in json.load(sys.stdin):
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(flags)
    validate_parsed_serve_args(parsed)
    print(json.dumps({key: value for key, value in vars(parsed).items() if isinstance(value, str | int | list | bool)}))
"""


def compose_file(**variables: str) -> dict[str, Any]:
    """Return docker-compose.yml with its variables filled in."""

    def fill(match: re.Match[str]) -> str:
        given = variables.get(match[1])
        return match[3] if given is None or (match[2] and not given) else given

    content: dict[str, Any] = yaml.safe_load(
        re.sub(r"\$\{(\w+)(:?)-([^}]*)\}", fill, (ROOT / "docker-compose.yml").read_text())
    )
    return content


def variables(text: str) -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build one-file artefacts of the recipes that compose serves."""
    for name in ("recipes", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    for name in ("kormo-10b", "kormo-10b-chatml"):
        run = load_recipe(Path(f"recipes/{name}.yaml")).folder
        for stage in ("data", "base", "adapter", "merged", "awq"):

            def build(folder: Path) -> dict[str, Any]:
                (folder / "prompt.json").write_text(json.dumps(PROMPT))
                (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 8192}))
                return {}

            inputs = {before: run / before for before in MADE_FROM.get(stage, ())}
            run_stage(run / stage, recipe=name, format=1, settings={}, inputs=inputs, build=build)


def flags_of(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return vLLM's flags as the container would compute them."""
    service = compose_file(**variables)["services"]["vllm"]
    line = [*service["entrypoint"], *service["command"]]
    assert line[:4] == ["python3", "-m", "serve", "exec"]
    options = dict(part.removeprefix("--").split("=", 1) for part in line[4:])
    assert set(options) == {"host", "port", "recipe"}
    for key, value in service["environment"].items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("SIGNBOARD_ALLOW_FAILED_VERDICT", "true")  # these artefacts have no weights to judge
    monkeypatch.setattr("serve.launch.on_cpu", lambda: False)  # as in the official image
    settings = read_settings(host=options["host"], port=free_port())
    recipe = load_recipe(Path(options["recipe"]))
    server = prepare(recipe, settings, wanted_variant(settings, recipe)).server
    assert server.command[1] == "-m"
    return server.command[3:]


@pytest.mark.usefixtures("built")
def test_vllms_own_parser_takes_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        ({"QUANTIZATION": "4bit"}, "runs/kormo-10b/awq", None),
        ({"QUANTIZATION": "8bit"}, "runs/kormo-10b/merged", "fp8"),
        ({"QUANTIZATION": "none"}, "runs/kormo-10b/merged", None),
        ({"USE_FINETUNED": "false"}, "runs/kormo-10b/base", None),
        ({"RECIPE": "kormo-10b-chatml"}, "runs/kormo-10b-chatml/awq", None),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps([flags_of(variables, monkeypatch) for variables, _, _ in wanted]),
        capture_output=True,
        text=True,
        env={**os.environ, **OFFLINE, "VLLM_TARGET_DEVICE": "cpu"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line, (_, model, quantization) in zip(done.stdout.splitlines(), wanted, strict=True):
        parsed = json.loads(line)
        assert parsed["model"] == model
        assert parsed.get("quantization") == quantization
        trained = not model.endswith("base")
        assert parsed["served_model_name"] == ["signboard", *([prompt_name()] if trained else [])]
        assert parsed.get("root_path") == (f"/{prompt_name()}" if trained else None)
        assert parsed["shutdown_timeout"] == DRAIN_SECONDS
        assert parsed["host"] == "0.0.0.0"
        assert (parsed["max_model_len"], parsed["max_num_seqs"]) == (512, 64)
        if trained:
            assert (parsed["fingerprint_mode"], parsed["fingerprint_value"][:10]) == ("custom", "signboard-")


def test_the_server_is_the_pinned_official_image_offline_and_locked_in() -> None:
    content = compose_file()
    pinned = re.search(r"^vllm==(.+)$", (ROOT / "requirements/gpu.txt").read_text(), re.MULTILINE)
    assert pinned
    service = content["services"]["vllm"]
    assert service["image"] == content["services"]["client"]["image"] == f"vllm/vllm-openai:v{pinned[1]}"
    assert OFFLINE.items() <= service["environment"].items()
    assert "ports" not in service
    assert service["networks"] == ["inside"]
    assert ".:/signboard:ro" in service["volumes"]
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    gateway = content["services"]["gateway"]
    assert gateway["ports"] == ["127.0.0.1:8080:8080"]
    assert gateway["read_only"]
    assert content["networks"]["inside"] == {"internal": True}
    for stage in ("train", "merge"):
        assert content["services"][stage]["network_mode"] == "none"
        assert content["services"][stage]["profiles"] == [stage]


def test_the_other_services_run_existing_commands() -> None:
    services = compose_file()["services"]
    for command in (
        [*services["vllm"]["healthcheck"]["test"][3:], "--help"],
        [*services["gateway"]["entrypoint"][2:], "--help"],
        [*services["router"]["entrypoint"][2:], "--help"],
        [*services["router"]["healthcheck"]["test"][3:], "--help"],
        [*services["client"]["entrypoint"][2:], *services["client"]["command"], "--help"],
        ["merge", "all", "--help"],
        ["evaluation", "verdict", "--help"],
        ["training", "sft", "--help"],
    ):
        done = run_room(*command)
        assert done.returncode == 0, done.stderr
    assert "python -m training sft --resume --recipe" in services["train"]["command"][2]
    assert "python -m merge all --recipe" in services["merge"]["command"][2]
    assert "python -m evaluation verdict --recipe" in services["merge"]["command"][2]


def test_with_the_profile_two_servers_stand_behind_a_router() -> None:
    services = compose_file(SIGNBOARD_MODEL_URL="http://router:30000/v1")["services"]
    first, second, router = (services[name] for name in ("vllm", "vllm-2", "router"))
    cards = [one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in (first, second)]
    assert cards == [["0"], ["1"]]
    same = first.keys() - {"deploy"}
    assert {key: second[key] for key in same} == {key: first[key] for key in same}
    assert [second["profiles"], router["profiles"]] == [["router"], ["router"]]
    assert given_servers(router["environment"]["SIGNBOARD_ROUTER_WORKERS"]) == (
        "http://vllm:8000",
        "http://vllm-2:8000",
    )
    assert "ports" not in router, "whoever reaches the router may add and remove servers"
    assert services["gateway"]["entrypoint"][-1] == "--model-url=http://router:30000/v1"
    assert compose_file()["services"]["gateway"]["entrypoint"][-1] == "--model-url=http://vllm:8000/v1"


def test_what_is_asked_stops_after_what_asks() -> None:
    """Compose stops a service before the ones it depends on."""
    services = compose_file()["services"]
    assert set(services["router"]["depends_on"]) == {"vllm", "vllm-2"}
    assert services["gateway"]["depends_on"].keys() == {"vllm", "router"}
    assert services["gateway"]["depends_on"]["router"]["required"] is False
    for name, seconds in (("vllm", DRAIN_SECONDS), ("router", GatewaySettings().deadline)):
        assert float(services[name]["stop_grace_period"].removesuffix("s")) > seconds


def test_the_gateway_writes_into_a_volume_and_nowhere_else() -> None:
    gateway = compose_file()["services"]["gateway"]
    assert gateway["read_only"]
    written = [mount.split(":") for mount in gateway["volumes"] if not mount.endswith(":ro")]
    assert written == [["gateway-state", "/var/lib/signboard"]]
    assert "gateway-state" in compose_file()["volumes"]
    assert gateway["environment"]["SIGNBOARD_GATEWAY_DATABASE"] == "sqlite:////var/lib/signboard/signboard.db"


def test_the_stages_image_may_copy_what_it_copies() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    ignored, *sent = (ROOT / ".dockerignore").read_text().split()
    assert ignored == "*"
    assert {f"!{name}" for line in copied for name in line.split()} == set(sent)


def test_private_keys_stay_out_of_commits() -> None:
    assert "*.key" in (ROOT / ".gitignore").read_text().split()


def test_every_variable_is_explained() -> None:
    used = set(re.findall(r"\$\{(\w+):?-", (ROOT / "docker-compose.yml").read_text()))
    explained = variables((ROOT / ".env.example").read_text())
    assert used <= explained
    read = {
        str(field.validation_alias or f"{settings.model_config['env_prefix']}{name.upper()}")
        for settings in (ServeSettings, GatewaySettings)
        for name, field in settings.model_fields.items()
    }
    names = ("SENSORS_PASSWORD", "PLAYERS_PASSWORD", "BROKER_ADDRESS", "MODEL_URL")
    composes = {f"SIGNBOARD_{name}" for name in names}
    assert explained == read | composes | {"RECIPE"}


def test_compose_hands_the_gateway_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed = compose_file()["services"]["gateway"]["environment"]
    prefix = GatewaySettings.model_config["env_prefix"]
    missing = {name.upper() for name in GatewaySettings.model_fields} - {name.removeprefix(prefix) for name in handed}
    line = {"HOST", "PORT", "MODEL_URL", "SIGN"}  # in the command; SIGNBOARD_SIGN has no prefix
    fit_compose = {"MODEL_NAME", "FINGERPRINT", "PARKS", "BODY_LIMIT", "BOARDS"}
    load = {"RUNNING", "WAITING", "FAILURES", "PROBE_SECONDS", "HEALTH_SECONDS"}
    assert missing == line | fit_compose | load
    monkeypatch.chdir(tmp_path)
    default = GatewaySettings()
    for name, value in handed.items():
        monkeypatch.setenv(name, value)
    settings = GatewaySettings()
    differ = {name for name in GatewaySettings.model_fields if getattr(settings, name) != getattr(default, name)}
    assert differ == {"words", "database", "broker_user"}
    silent = compose_file(SIGNBOARD_GATEWAY_PUBLISH_DISCOVERY="")["services"]["gateway"]["environment"]
    assert silent["SIGNBOARD_GATEWAY_PUBLISH_DISCOVERY"] == "", "it can be switched off"


def test_the_example_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default, gateway = ServeSettings(), GatewaySettings()
    (tmp_path / ".env").write_text((ROOT / ".env.example").read_text())
    assert read_settings() == default
    assert read_gateway_settings() == gateway

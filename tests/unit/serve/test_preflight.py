"""The checks before vLLM starts, and vLLM's flags and environment."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import serve.preflight
from core.errors import ArtefactError, ServiceError, SettingError
from pipeline.graph import MADE_FROM
from pipeline.recipe import Recipe
from pipeline.stage import run_stage
from serve import flags
from serve.launch import Variant, wanted_variant
from serve.preflight import CPU_OVERHEAD, GIB, can_compile, check_memory, choose_checkpoint, has_avx512
from serve.settings import ServeSettings, read_settings

RECIPE = Recipe(name="tiny")
SHAPE = {"num_hidden_layers": 32, "num_attention_heads": 8, "hidden_size": 1024}
CHAIN = ("data", "base", "adapter", "merged", "awq")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Build a whole line of one-file artefacts and return its run folder."""
    monkeypatch.chdir(tmp_path)
    for stage in CHAIN:

        def build(folder: Path, stage: str = stage) -> dict[str, Any]:
            (folder / "model.safetensors").write_text(f"weights of {stage}")
            return {}

        inputs = {name: RECIPE.folder / name for name in MADE_FROM.get(stage, ())}
        run_stage(RECIPE.folder / stage, format=1, recipe=RECIPE.name, settings={}, inputs=inputs, build=build)
    return RECIPE.folder


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: Xeon\nflags\t\t: fpu sse4_2 avx avx2 avx512f avx512bw\n", True),
        ("model name\t: Ryzen\nflags\t\t: fpu sse4_2 avx avx2 fma\n", False),
        ("model name\t: Neoverse\nFeatures\t: fp asimd\n", False),
        (None, False),
    ],
    ids=["Xeon", "without", "Arm", "no file"],
)
def test_avx512_is_read_from_cpuinfo(cpuinfo: str | None, expected: bool, tmp_path: Path) -> None:
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert has_avx512(tmp_path / "cpuinfo") is expected


@pytest.mark.parametrize(
    ("cpu", "avx512", "stage", "noted"),
    [(True, True, "awq", False), (True, False, "merged", True), (False, False, "awq", False)],
    ids=["CPU", "CPU without AVX-512", "GPU"],
)
def test_the_checkpoint_fits_the_machine(
    cpu: bool, avx512: bool, stage: str, noted: bool, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve.preflight, "has_avx512", lambda: avx512)
    folder, note = choose_checkpoint(RECIPE, cpu=cpu, full=True)
    assert folder == line / stage
    assert ("AVX-512" in note) is bool(note) is noted


def test_a_checkpoint_copied_without_the_stages_before_it_still_verifies(line: Path) -> None:
    for stage in CHAIN[:-1]:
        shutil.rmtree(line / stage)
    assert choose_checkpoint(RECIPE, cpu=False, full=True) == (line / "awq", "")


def cut_a_file(folder: Path) -> None:
    (folder / "model.safetensors").write_text("weig")


def remove_a_file(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")


def break_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def remove_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def forge_an_ancestor(folder: Path) -> None:
    manifest = folder / "manifest.json"
    before, after = manifest.read_text().split('"ancestors"', 1)
    assert '"stage": "adapter"' in after
    manifest.write_text(before + '"ancestors"' + after.replace('"stage": "adapter"', '"stage": "adapted"'))


def alter_a_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_text(file.read_text().replace("weights", "WEIGHTS"))


CHECKED_BY_SIZE = [cut_a_file, remove_a_file, add_a_file, break_the_manifest, remove_the_manifest, forge_an_ancestor]


@pytest.mark.parametrize("full", [False, True], ids=["fast", "full"])
@pytest.mark.parametrize("damage", [*CHECKED_BY_SIZE, shutil.rmtree, alter_a_file])
@pytest.mark.parametrize(("avx512", "stage"), [(True, "awq"), (False, "merged")])
def test_a_missing_or_altered_checkpoint_is_rejected(
    avx512: bool, stage: str, damage: Callable[[Path], None], full: bool, line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve.preflight, "has_avx512", lambda: avx512)
    damage(line / stage)
    with pytest.raises(ArtefactError, match=f"runs/tiny/{stage}") as caught:
        choose_checkpoint(RECIPE, cpu=True, full=full)
    assert "`make merge`" in caught.value.todo


@pytest.mark.parametrize("kv_cache", [0.5, 4])
@pytest.mark.parametrize("spare", [-1, 0], ids=["a byte short", "just enough"])
def test_memory_must_hold_weights_cache_and_vllm(spare: int, kv_cache: float, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"serve": RECIPE.serve.model_copy(update={"kv_cache_gib": kv_cache})})
    for name, size in (("a.safetensors", 2 * GIB), ("b.safetensors", GIB), ("tokenizer.json", 9 * GIB)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # sparse: takes no disk
    needed = int((3 + kv_cache) * GIB) + CPU_OVERHEAD
    if spare == 0:
        assert check_memory(recipe, tmp_path, 512, needed) is None  # type: ignore[func-returns-value]
        return
    with pytest.raises(ServiceError, match=f"{needed / GIB:.1f} GiB") as caught:
        check_memory(recipe, tmp_path, 512, needed + spare)
    assert "serve.kv_cache_gib" in caught.value.todo


def vllm_flags(*, cpu: bool) -> dict[str, str]:
    """Return the default flags as a dictionary, each given once."""
    settings = ServeSettings()
    given = flags.vllm_flags(RECIPE, Path("runs/tiny/awq"), 512, settings.host, settings.port, cpu=cpu)
    pairs = [(name, value) for name, _, value in (flag.partition("=") for flag in given)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.fixture
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own settings."""
    monkeypatch.chdir(tmp_path)
    Path("runs/tiny/awq").mkdir(parents=True)
    Path("runs/tiny/awq/config.json").write_text(json.dumps(SHAPE))
    for name in ("HOST", "PORT", "START_TIMEOUT", "STOP_TIMEOUT"):
        monkeypatch.delenv(f"SIGNBOARD_{name}", raising=False)


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize("cpu", [True, False], ids=["CPU", "GPU"])
def test_flags(cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "can_compile", lambda: True)
    given = vllm_flags(cpu=cpu)
    assert given["--host"] == "127.0.0.1"
    assert given["--model"] == "runs/tiny/awq"
    assert given["--served-model-name"] == "signboard"
    assert given["--generation-config"] == "auto"
    # 32 tokens: the shared part of our prompt fills whole blocks, so the prefix cache finds it
    assert given.get("--block-size") == ("32" if cpu else None)
    assert given.get("--gpu-memory-utilization") == (None if cpu else "0.9")
    assert ("--disable-log-stats" in given) is cpu
    assert given.get("--kv-cache-memory-bytes") == (str(4 * GIB) if cpu else None), (
        "twice 32 contexts of 512 tokens at 128 KiB"
    )
    assert "--enforce-eager" not in given


@pytest.mark.usefixtures("defaults")
def test_a_model_that_is_traced_is_counted_too() -> None:
    given = flags.vllm_flags(
        RECIPE, Path("runs/tiny/awq"), 512, "127.0.0.1", 8000, cpu=True, traces="http://c/v1/traces"
    )
    assert "--otlp-traces-endpoint=http://c/v1/traces" in given
    assert "--disable-log-stats" not in given, "vLLM makes its spans of its statistics"


@pytest.mark.usefixtures("defaults")
@pytest.mark.parametrize("lacking", ["compiler", "headers"])
def test_without_a_compiler_the_model_runs_uncompiled(
    lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"compiler": tmp_path / "g++", "headers": tmp_path / "Python.h"}
    for file in there.values():
        file.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(there["compiler"]))
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    assert can_compile()
    there[lacking].unlink()
    assert not can_compile()
    assert "--enforce-eager" in vllm_flags(cpu=True)
    assert "--enforce-eager" not in vllm_flags(cpu=False)


@pytest.mark.usefixtures("defaults")
def test_arguments_override_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNBOARD_PORT", "8123")
    assert vllm_flags(cpu=True)["--port"] == "8123"
    assert ServeSettings(port=9000).port == 9000


@pytest.mark.parametrize("cpu", [True, False], ids=["CPU", "GPU"])
def test_vllm_runs_offline_whatever_the_environment_says(cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK")
    for name in offline:
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    monkeypatch.setenv("PARK", "kept")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = flags.vllm_environment(RECIPE, cpu=cpu)
    assert {environment[name] for name in offline} == {"1"}
    assert environment["PARK"] == "kept"
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment, "the recipe says how much"
    # or requests would be served one by one
    assert (environment.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0") is cpu
    small = RECIPE.model_copy(update={"serve": RECIPE.serve.model_copy(update={"cpu_threads": 1})})
    assert (flags.vllm_environment(small, cpu=cpu).get("OMP_NUM_THREADS") == "1") is cpu
    assert "PYTHONDONTWRITEBYTECODE" not in environment, "it starts in half the time"
    assert (environment.get("TORCHINDUCTOR_CACHE_DIR") == str(Path("runs/tiny/compiled").absolute())) is cpu
    own = flags.vllm_environment(
        RECIPE, cpu=cpu, compiled=Path("/var/cache/park")
    )  # of a service without rights in runs/
    assert (own.get("TORCHINDUCTOR_CACHE_DIR") == "/var/cache/park") is cpu


@pytest.mark.parametrize(
    ("variables", "variant"),
    [
        ({}, Variant.AWQ),
        ({"QUANTIZATION": "4bit", "USE_FINETUNED": "true", "USE_CHAT_FORMAT": "true"}, Variant.AWQ),
        ({"QUANTIZATION": "8bit"}, Variant.EIGHT_BIT),
        ({"QUANTIZATION": "none"}, Variant.MERGED),
        ({"QUANTIZATION": "", "ADAPTER_PATH": "", "USE_FINETUNED": ""}, Variant.AWQ),
        ({"USE_FINETUNED": "false"}, Variant.BASE),
        ({"ADAPTER_PATH": "runs/tiny/adapter"}, Variant.AWQ),
    ],
    ids=str,
)
def test_the_originals_keys_select_the_variant(
    variables: dict[str, str], variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wanted_variant(read_settings(), RECIPE) is variant


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"QUANTIZATION": "3bit"}, "QUANTIZATION: Input should be '4bit', '8bit' or 'none'"),
        ({"SIGNBOARD_PORT": "http"}, "PORT: Input should be a valid integer"),
        ({"USE_CHAT_FORMAT": "false"}, "without its chat format the model writes labels"),
        ({"ADAPTER_PATH": "/adapters/mine"}, "the adapter is folded in before"),
    ],
    ids=str,
)
def test_unsupported_settings_are_rejected(
    variables: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=reason):
        wanted_variant(read_settings(), RECIPE)


def test_eight_bit_is_for_gpus() -> None:
    assert flags.eight_bit_flags(cpu=False) == ["--quantization=fp8"]
    with pytest.raises(ServiceError, match="GPUs only"):
        flags.eight_bit_flags(cpu=True)


def test_an_adapter_with_new_tokens_is_served_folded_in_only(tmp_path: Path) -> None:
    config = tmp_path / "adapter_config.json"
    config.write_text('{"trainable_token_indices": null}')
    assert f"--lora-modules=signboard={tmp_path}" in flags.lora_flags(RECIPE, tmp_path)
    config.write_text('{"trainable_token_indices": {"lm_head": [5]}}')
    with pytest.raises(ServiceError, match="rows of new tokens") as caught:
        flags.lora_flags(RECIPE, tmp_path)
    assert "--variant merged" in caught.value.todo

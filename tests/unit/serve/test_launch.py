"""From a recipe to a server: which sampling a variant gets, and that nothing is served unchecked."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import serve.launch
from core.errors import ArtefactError, ServiceError, SettingError, SignatureError
from core.ports import free_port, listens
from core.prompt import GOLDEN, build_messages, prompt_name
from pipeline.graph import MADE_FROM
from pipeline.recipe import Recipe, ServeSection
from pipeline.signature import sign
from pipeline.stage import run_stage
from serve.launch import UNDRAFTED, UNMERGED, Prepared, Variant, prepare, prepare_all
from serve.settings import ServeSettings
from tests.support.keys import new_keys

RECIPE = Recipe(name="tiny")
FINGERPRINT = "signboard-2-80-0123456789abcdef"
DRAFTING = "--speculative-config="
SAMPLING = "--override-generation-config="
SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Build a whole line of artefacts without weights; return the run's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("serve.launch.check_memory", lambda *_, **__: None)

    for stage in ("data", "base", "adapter", "merged", "awq"):
        make(stage)
    return RECIPE.folder


def make(stage: str, files: Iterable[str] = ()) -> None:
    """Make a stage's artefact without weights; `files` are there besides."""

    def build(folder: Path) -> dict[str, Any]:
        record = {"version": 2, "messages": build_messages(*GOLDEN), "fingerprint": FINGERPRINT}
        record |= {"longest_prompt": 200, "longest_message": 90}
        (folder / "prompt.json").write_text(json.dumps(record))
        (folder / "config.json").write_text(json.dumps(SHAPE | {"max_position_embeddings": 4096}))
        (folder / "adapter_config.json").write_text("{}")
        (folder / "model.safetensors").write_text("weights")
        for name in files:
            (folder / name).write_text("{}")
        return {}

    inputs = {name: RECIPE.folder / name for name in MADE_FROM.get(stage, ())}
    run_stage(RECIPE.folder / stage, format=1, recipe=RECIPE.name, settings={}, inputs=inputs, build=build, force=True)


def prepared(variant: Variant, **options: Any) -> Prepared:
    return prepare(RECIPE, ServeSettings(port=free_port(), allow_failed_verdict=True), variant, **options)


@pytest.mark.parametrize(
    ("variant", "folder", "given_sampling", "told_fingerprint"),
    [
        (Variant.AWQ, "awq", False, True),  # it carries its own defaults
        (Variant.MERGED, "merged", False, True),
        (Variant.ADAPTER, "base", True, True),
        (Variant.BASE, "base", True, False),
    ],
)
def test_every_variant_samples_as_the_recipe_says(
    variant: Variant, folder: str, given_sampling: bool, told_fingerprint: bool, run: Path
) -> None:
    ready = prepared(variant)
    assert ready.checkpoint == run / folder
    assert any(flag.startswith(SAMPLING) for flag in ready.server.command) is given_sampling
    assert (f"--fingerprint-value={FINGERPRINT}" in ready.server.command) is told_fingerprint
    # 90 tokens of a message and half as much: 136; 200 of a prompt and half as much, and a message, in whole 128s: 512
    assert "--max-model-len=512" in ready.server.command
    assert not given_sampling or any('"max_new_tokens": 136' in flag for flag in ready.server.command)


@pytest.mark.parametrize("variant", [Variant.AWQ, Variant.MERGED, Variant.ADAPTER, Variant.BASE])
def test_a_full_verification_hashes_every_shard_of_what_is_served(
    variant: Variant, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []
    for module in ("serve.launch", "serve.preflight"):
        monkeypatch.setattr(f"{module}.verify", lambda folder, *, full=False: asked.append((folder, full)))
    served = prepared(variant, full=True).checkpoint
    assert (served, True) in asked
    assert all(full for _, full in asked)
    assert ((run / "adapter", True) in asked) is (variant is Variant.ADAPTER)


@pytest.mark.parametrize("drafting", [True, False])
def test_a_checkpoint_with_a_table_is_served_with_drafts_unless_the_recipe_says_no(drafting: bool) -> None:
    recipe = RECIPE.model_copy(update={"serve": ServeSection(drafting=drafting)})
    settings = ServeSettings(port=free_port(), allow_failed_verdict=True)
    without = prepare(recipe, settings)
    assert not any(flag.startswith(DRAFTING) for flag in without.server.command)
    assert (UNDRAFTED in without.note) is drafting
    make("awq", ["drafts.json"])
    ready = prepare(recipe, settings)
    assert any(flag.startswith(DRAFTING) for flag in ready.server.command) is drafting
    assert UNDRAFTED not in ready.note


@pytest.mark.parametrize("variant", [Variant.ADAPTER, Variant.BASE])
def test_nobody_expects_a_table_before_the_merge(variant: Variant) -> None:
    ready = prepared(variant)
    assert UNDRAFTED not in ready.note
    assert not any(flag.startswith(DRAFTING) for flag in ready.server.command)


def test_an_altered_adapter_is_not_served(run: Path) -> None:
    (run / "adapter" / "adapter_config.json").write_text("[]")
    with pytest.raises(ArtefactError, match="adapter"):
        prepared(Variant.ADAPTER)


@pytest.mark.parametrize("variant", [Variant.AWQ, Variant.MERGED, Variant.ADAPTER, Variant.BASE])
def test_with_a_public_key_only_what_its_owner_signed_is_served(variant: Variant, run: Path, tmp_path: Path) -> None:
    """Every folder whose weights are loaded counts: an adapter is as good as the model."""
    ours, theirs = new_keys(tmp_path, "ours"), new_keys(tmp_path, "theirs")
    settings = ServeSettings(port=free_port(), allow_failed_verdict=True, public_key=ours.public)
    loaded = ("base", "adapter") if variant is Variant.ADAPTER else (str(variant),)
    for stage in loaded:
        with pytest.raises(SignatureError, match=f"{stage} has no signature"):
            prepare(RECIPE, settings, variant)
        sign(run / stage, theirs.private)
        with pytest.raises(SignatureError, match=f"{stage} is not what the owner of"):
            prepare(RECIPE, settings, variant)
        sign(run / stage, ours.private)
    prepare(RECIPE, settings, variant)
    make(loaded[-1], files=["more.json"])  # a whole artefact, from somebody else
    with pytest.raises(SignatureError, match=r"more\.json"):
        prepare(RECIPE, settings, variant)


@pytest.mark.parametrize("cpu", [True, False], ids=["CPU", "GPU"])
def test_memory_is_checked_before_vllm_starts_on_a_cpu(cpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(_recipe: Recipe, checkpoint: Path, _context: int, *, servers: int) -> None:
        assert servers == 1
        raise ServiceError(f"Serving {checkpoint} needs more memory.")

    monkeypatch.setattr(serve.launch, "check_memory", short)
    monkeypatch.setattr(serve.launch, "on_cpu", lambda: cpu)
    if not cpu:
        assert prepared(Variant.MERGED).checkpoint == RECIPE.folder / "merged"
        return
    with pytest.raises(ServiceError, match="runs/tiny/merged needs more memory"):
        prepared(Variant.MERGED)


@pytest.mark.parametrize("variant", [Variant.AWQ, Variant.MERGED, Variant.ADAPTER, Variant.BASE])
def test_a_checkpoint_is_served_under_the_name_of_its_own_prompt(variant: Variant) -> None:
    ready = prepared(variant)
    command = ready.server.command
    if variant in UNMERGED:  # for comparison only
        assert ready.prompt is None
        assert not any(flag.startswith("--root-path") for flag in command)
        return
    assert ready.prompt == prompt_name()
    place = command.index("--served-model-name")
    assert command[place + 1 : place + 3] == ["signboard", ready.prompt]
    assert f"--root-path=/{ready.prompt}" in command


def test_the_name_is_that_of_the_prompt_in_the_checkpoint_not_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as trained:
        trained.setattr("core.prompt.SYSTEM_PROMPT", "다른 지시문입니다.")
        make("merged")
    other = prepared(Variant.MERGED).prompt
    assert other is not None
    assert other.startswith("signboard-prompt-2-")
    assert other != prompt_name()


def for_two_servers() -> ServeSettings:
    """Return settings with two free ports in a row."""
    port = next(port for port in iter(free_port, None) if not listens(port + 1))
    return ServeSettings(port=port, servers=2, allow_failed_verdict=True)


def test_several_servers_take_ports_in_a_row_and_hash_the_checkpoint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bool] = []
    monkeypatch.setattr("serve.preflight.verify", lambda _folder, *, full=False: hashed.append(full))
    settings = for_two_servers()
    first, second = prepare_all(RECIPE, settings, Variant.AWQ, full=True)
    assert first.server.url == f"http://127.0.0.1:{settings.port}/v1"
    assert second.server.url == f"http://127.0.0.1:{settings.port + 1}/v1"
    assert first.server.log != second.server.log
    assert hashed == [True, False]


@pytest.mark.parametrize(("visible", "wanted"), [(None, ["0", "1"]), ("3,1,2", ["3", "1"])])
def test_each_server_gets_a_gpu_of_its_own(
    visible: str | None, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve.launch, "on_cpu", lambda: False)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    ready = prepare_all(RECIPE, for_two_servers(), Variant.AWQ)
    assert [one.server._environment["CUDA_VISIBLE_DEVICES"] for one in ready] == wanted


def test_more_servers_than_gpus_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SettingError, match="2 servers need a GPU each"):
        prepare_all(RECIPE, for_two_servers(), Variant.AWQ)

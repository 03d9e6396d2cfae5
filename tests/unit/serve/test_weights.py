"""Which weights are served on a CPU: as the recipe says, or as was measured here, and only after a passed verdict."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import ServiceError, VerdictError
from pipeline.recipe import Recipe, ServeSection
from pipeline.stage import run_stage
from serve import weights
from serve.launch import Variant
from serve.settings import ServeSettings
from serve.weights import RECORD, Measured, choose_weights

ALLOWED = ServeSettings(allow_failed_verdict=True)
FAST_16 = Measured("id", "cpu", "vllm", "{}", four=80.0, sixteen=100.0)


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run's folder with a 4-bit checkpoint, on a CPU that can serve it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "on_cpu", lambda: True)
    monkeypatch.setattr(weights, "has_avx512", lambda: True)

    def build(folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_text("weights")
        return {}

    folder = recipe("4bit").folder
    run_stage(folder / "awq", format=1, recipe="tiny", settings={}, inputs={}, build=build)
    return folder


def recipe(wanted: str) -> Recipe:
    return Recipe(name="tiny", serve=ServeSection.model_validate({"weights": wanted}))


def keep(run: Path, measured: Measured, **changes: Any) -> None:
    here = {**weights._here(recipe("measured")), **changes}
    (run / RECORD).write_text(json.dumps(asdict(replace(measured, **here))))


def test_four_bits_need_no_measurement(run: Path) -> None:
    keep(run, FAST_16)
    assert choose_weights(recipe("4bit"), ServeSettings(), pytest.fail) == (Variant.AWQ, "")


@pytest.mark.parametrize("wanted", ["16bit", "measured"])
def test_sixteen_bits_are_served_only_if_the_four_passed_their_verdict(wanted: str, run: Path) -> None:
    keep(run, FAST_16)
    with pytest.raises(VerdictError, match="no verdict"):
        choose_weights(recipe(wanted), ServeSettings(), pytest.fail)
    variant, note = choose_weights(recipe(wanted), ALLOWED, pytest.fail)
    assert variant is Variant.MERGED
    assert "Served anyway" in note


@pytest.mark.parametrize(
    ("sixteen", "variant", "text"),
    [
        (100.0, Variant.MERGED, "16-bit weights, as measured here: 16 bits write 1.25 times"),
        (84.0, Variant.AWQ, "4-bit weights, as measured here: 16 bits write 1.05 times"),
        (60.0, Variant.AWQ, "4-bit weights, as measured here: 16 bits write 0.75 times"),
    ],
    ids=["16 bits are faster", "hardly", "4 bits are faster"],
)
def test_the_record_decides(sixteen: float, variant: Variant, text: str, run: Path) -> None:
    keep(run, replace(FAST_16, sixteen=sixteen))
    chosen, note = choose_weights(recipe("measured"), ALLOWED, pytest.fail)
    assert chosen is variant
    assert note.startswith(text)


@pytest.mark.parametrize("changed", ["checkpoint", "cpu", "vllm", "serve"])
def test_a_record_of_another_machine_or_checkpoint_is_measured_again(
    changed: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(run, FAST_16, **{changed: "another"})
    slow = Measured(**weights._here(recipe("measured")), four=80.0, sixteen=1.0)
    monkeypatch.setattr(weights, "measure", lambda *_: slow)
    said: list[str] = []
    assert choose_weights(recipe("measured"), ALLOWED, said.append)[0] is Variant.AWQ
    assert len(said) == 1
    assert Measured.read(run) == slow, "kept for the next start"


@pytest.mark.parametrize("text", ["", "{}", '{"checkpoint": 1, "more": 2}', "[]"])
def test_a_broken_record_is_none(text: str, run: Path) -> None:
    (run / RECORD).write_text(text)
    assert Measured.read(run) is None


def test_on_a_gpu_four_bits_are_served(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(run, FAST_16)
    monkeypatch.setattr(weights, "on_cpu", lambda: False)
    assert choose_weights(recipe("16bit"), ALLOWED, pytest.fail) == (Variant.AWQ, "")


class Fake:
    """A server that starts and stops, or cannot start."""

    def __init__(self, folder: Path, port: int, *, starts: bool = True) -> None:
        self.log, self.port, self._starts, self.running = folder / f"serve-{port}.log", port, starts, False
        self.log.write_text("started")

    def __enter__(self) -> "Fake":
        if not self._starts:
            raise ServiceError("Too little memory.", "Stop other programs.")
        self.running = True
        return self

    def __exit__(self, *_: object) -> None:
        self.running = False


@pytest.fixture
def fakes(run: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Variant, Fake]:
    """Let the variants be served by fakes."""
    made: dict[Variant, Fake] = {}

    def prepare(_: Recipe, settings: ServeSettings, variant: Variant) -> Any:
        assert (settings.host, settings.servers) == ("127.0.0.1", 1)
        return SimpleNamespace(server=made.setdefault(variant, Fake(run, settings.port)))

    monkeypatch.setattr(weights, "prepare", prepare)
    return made


def test_both_are_asked_at_the_same_time_in_turns(
    run: Path, fakes: dict[Variant, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, int]] = []

    def rate(_: Recipe, server: Fake, seconds: float, seed: int) -> float:
        assert all(fake.running for fake in fakes.values())
        if seconds == weights.SECONDS:
            asked.append((server is fakes[Variant.MERGED], seed))
        return 50.0 + seed if server is fakes[Variant.AWQ] else 100.0 + seed

    monkeypatch.setattr(weights, "_rate", rate)
    settings = ServeSettings(host="0.0.0.0", servers=2, allow_failed_verdict=True)
    assert choose_weights(recipe("measured"), settings, lambda _: None)[0] is Variant.MERGED
    measured = Measured.read(run)
    assert measured is not None
    assert (measured.four, measured.sixteen) == (52.5, 102.5)
    assert asked[:4] == [(False, 0), (True, 0), (True, 1), (False, 1)], "each reading of both, neither always first"
    assert not any(fake.running or fake.log.exists() for fake in fakes.values())


@pytest.mark.parametrize("when", ["starting", "asked"])
def test_what_cannot_be_compared_is_served_in_4_bits_and_tried_again(
    when: str, run: Path, fakes: dict[Variant, Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate(_: Recipe, server: Fake, *_rest: float, **_more: int) -> float:
        if server is fakes[Variant.MERGED]:
            raise ServiceError("vLLM stopped answering: no reason.", "See its log.")
        return 50.0

    monkeypatch.setattr(weights, "_rate", rate)
    if when == "starting":
        fakes[Variant.MERGED] = Fake(run, 1, starts=False)
    variant, note = choose_weights(recipe("measured"), ALLOWED, lambda _: None)
    assert variant is Variant.AWQ
    assert ("Too little memory." if when == "starting" else "stopped answering") in note
    assert not fakes[Variant.AWQ].running
    assert fakes[Variant.AWQ].log.exists(), "it may say why"
    assert Measured.read(run) is None

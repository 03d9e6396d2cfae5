"""Recipes: those that ship, strictness, overrides, and errors that name the key."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import RecipeError
from pipeline.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from tests.conftest import ROOT

QAT = "name: a\nquantize: {group_size: 32}"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


def recipe_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_load_unchanged(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert recipe.folder == Path("runs") / path.stem
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert keep(recipe.model_dump(mode="json"), written) == written


def test_the_default_recipe_ships() -> None:
    assert ROOT / DEFAULT_RECIPE in RECIPES


def test_every_key_but_the_name_has_a_default(tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path, "name: small"))
    assert recipe == Recipe(name="small")
    assert (recipe.data.rows, recipe.train.lora.rank, recipe.train.lora.target_modules) == (
        302,
        32,
        ("q_proj", "v_proj"),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: a\nepochs: 5", "epochs: Extra"),
        ("name: a\ntrain: {epoch: 5}", r"train\.epoch: Extra"),
        ("name: a\ntrain: {lora: {rnak: 8}}", r"train\.lora\.rnak: Extra"),
        ("seed: 1", "name: Field required"),
        ("name: ../a", "name: "),
        ("name: ''", "name: "),
        ("name: 한국", "name: "),
        ("name: a\nseed: many", "seed: "),
        ("name: a\nseed: 1.5", "seed: "),
        ("name: a\ndata: {set: both}", r"data\.set: "),
        ("name: a\ndata: {rows: 0}", r"data\.rows: "),
        ("name: a\ntrain: {epochs: 0}", r"train\.epochs: "),
        ("name: a\ntrain: {learning_rate: -1}", r"train\.learning_rate: "),
        ("name: a\ntrain: {learning_rate: .nan}", r"train\.learning_rate: "),
        ("name: a\ntrain: {learning_rate: .inf}", r"train\.learning_rate: "),
        ("name: a\ntrain: {lora: {dropout: 1}}", r"train\.lora\.dropout: "),
        ("name: a\nquantize: {bits: 8}", r"quantize\.bits: "),
        ("name: a\nquantize: {group_size: 100}", r"quantize\.group_size: "),
        ("name: a\nmerge: {fold: qat}", r"recipe: .*merge\.fold=qat needs train\.qat_group_size"),
        ("name: a\ntrain: {qat_group_size: 32}", r"quantize\.group_size must be the same"),
        (f"{QAT}\ntrain: {{qat_group_size: 32}}", r"excludes .*train\.lora\.dropout"),
        (f"{QAT}\ntrain: {{qat_group_size: 32, load_in_4bit: true, lora: {{dropout: 0}}}}", "load_in_4bit"),
        ("name: a\ngeneration: {top_p: 1.5}", r"generation\.top_p: "),
        ("name: a\ngeneration: {temperature: 3}", r"generation\.temperature: "),
        ("name: a\ntrain: 5", "train: "),
        ("name: a\ntrain:", "train: "),
        ("name: a\n1: 2", "1: "),
        ("name: a\nname: b", "duplicate key 'name'"),
        ("name: a\ntrain: {epochs: 5, epochs: 6}", "duplicate key 'epochs'"),
        ("name: a\ntrain:\n  lora:\n    rank: 8\n    rank: 8", "duplicate key 'rank'"),
        ("name: [a", "not valid YAML"),
        ("name: a\n\tseed: 1", "not valid YAML"),
        ("name: !!python/name:os.system", "not valid YAML"),
        ("", "holds no settings"),
        ("- name: a", "holds no settings"),
        (b"name: \xff\xfe", "not valid YAML"),
    ],
)
def test_wrong_recipes_are_rejected_by_key(tmp_path: Path, text: str | bytes, reason: str) -> None:
    path = recipe_file(tmp_path, text)
    with pytest.raises(RecipeError, match=f"(?s){re.escape(str(path))}.*{reason}"):
        load_recipe(path)


@pytest.mark.parametrize("name", ["missing.yaml", "."], ids=["missing", "folder"])
def test_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match=f"{re.escape(str(tmp_path / name))} cannot be read.*\n.*recipes/"):
        load_recipe(tmp_path / name)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("train.epochs=0.5", ("train", "epochs"), 0.5),
        ("train.learning_rate=1e-3", ("train", "learning_rate"), 1e-3),
        ("train.lora.rank=64", ("train", "lora", "rank"), 64),
        ("train.lora.target_modules=[q_proj, o_proj]", ("train", "lora", "target_modules"), ("q_proj", "o_proj")),
        ("train.load_in_4bit=true", ("train", "load_in_4bit"), True),
        ("data.set=large", ("data", "set"), "large"),
        ("base.path=a=b", ("base", "path"), Path("a=b")),
    ],
)
def test_overrides_change_one_key(tmp_path: Path, override: str, key: tuple[str, ...], value: Any) -> None:
    text = "name: a\nseed: 3\ntrain: {epochs: 9, lora: {alpha: 16}}"
    before = load_recipe(recipe_file(tmp_path, text)).model_dump()
    after = load_recipe(recipe_file(tmp_path, text), [override]).model_dump()
    assert before != after
    inner = before
    for part in key[:-1]:
        inner = inner[part]
    inner[key[-1]] = value
    assert after == before


def test_the_last_override_wins(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, "name: a")
    assert load_recipe(path, ["train.epochs=2", "seed=5", "train.epochs=3"]).train.epochs == 3


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.epochs", "no '='"),
        ("train.epoch=3", r"train\.epoch: Extra"),
        ("trian.epochs=3", "trian: Extra"),
        ("train.epochs=many", r"train\.epochs: "),
        ("train.epochs=", r"train\.epochs: "),
        ("seed.value=3", "seed is not a section"),
        ("=3", "Extra"),
        ("train.epochs=[", r"train\.epochs"),
    ],
)
def test_wrong_overrides_are_rejected_by_key(tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        load_recipe(recipe_file(tmp_path, "name: a\nseed: 1"), [override])


def keep(content: Any, keys: Any) -> Any:
    """Reduce nested settings to the keys that another mapping has."""
    return {key: keep(content[key], keys[key]) for key in keys} if isinstance(keys, dict) else content


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_hold_every_key_and_explain_all_but_the_plainest(path: Path) -> None:
    assert keys(yaml.safe_load(path.read_text())) == keys(Recipe(name="a").model_dump(mode="json"))
    lines = [line for line in path.read_text().splitlines() if ":" in line and not line.startswith("#")]
    plain = {line.strip() for line in lines if "#" not in line and not line.endswith(":")}
    assert {line.split(":")[0] for line in plain} <= {
        "alpha", "batch_size", "bits", "dropout", "epochs", "gradient_accumulation", "learning_rate", "model_name",
        "rank", "target_modules", "temperature", "top_p", "zero_point",
    }  # fmt: skip


def keys(content: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted names of all settings."""
    found: set[str] = set()
    for key, value in content.items():
        found |= keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found

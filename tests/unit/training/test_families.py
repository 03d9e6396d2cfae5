"""Checkpoints as people have them, of every family: imported exactly, settled, folded and quantized, or refused."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from core.errors import ArtefactError
from core.prompt import GOLDEN, build_messages
from merge.layerwise import Streamed
from merge.proofs import HeldOut, compare_fold
from merge.stages import run_fold, run_quantize
from merge.weights import Checkpoint
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe
from tests.conftest import ROOT
from tests.support import families as tiny
from training.chat_template import configure_chat_template
from training.import_base import import_base, source_files
from training.settle import ANSWER
from training.tokenization import load_tokenizer, prompt_ids, row_ids

WRITERS: dict[str, Callable[[Path], Any]] = {
    "qwen2": tiny.write_qwen2,
    "qwen3": tiny.write_qwen3,
    "mistral": tiny.write_mistral,
    "llama3": tiny.write_llama3,
    "smollm2": tiny.write_smollm2,
    "exaone": tiny.write_exaone,
}
WRITTEN_AS = {"qwen2": "qwen2", "qwen3": "qwen3"}  # the others: llama
ROW: dict[str, Any] = {"prompt": build_messages(*GOLDEN), "completion": [{"role": "assistant", "content": ANSWER}]}
TOKENIZER_CONFIG = "tokenizer_config.json"


def imported(source: Path, target: Path, chat_format: Any = "own") -> dict[str, Any]:
    """Import as the stage does; return what its manifest records."""
    assert list(source_files(source))
    target.mkdir()
    return import_base(source, target) | configure_chat_template(target, chat_format)


def logits(model: Any) -> torch.Tensor:
    ids = torch.randint(0, tiny.PIECES, (2, 90), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.eval()(ids).logits


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


# ---- exact


@pytest.mark.parametrize("family", WRITERS)
def test_logits_of_the_imported_checkpoint_are_identical_to_the_bit(tmp_path: Path, family: str) -> None:
    model = WRITERS[family](tmp_path / "source")
    imported(tmp_path / "source", tmp_path / "base")
    found = loaded(tmp_path / "base")
    assert found.config.model_type == WRITTEN_AS.get(family, "llama")
    assert torch.equal(logits(found), logits(model))


@pytest.mark.parametrize(("family", "key"), [("llama3", "rope_scaling"), ("exaone", "layer_norm_epsilon")])
def test_what_is_in_the_config_shows_in_the_logits(tmp_path: Path, family: str, key: str) -> None:
    """Or the test above would not notice a key that is lost."""
    model = WRITERS[family](tmp_path / "source")
    tiny.edit_json(tmp_path / "source/config.json", **{key: None if key == "rope_scaling" else 0.1})
    imported(tmp_path / "source", tmp_path / "base")
    assert (logits(loaded(tmp_path / "base")) - logits(model)).abs().max() > 0.1


# ---- checkpoints as they come


@dataclass(frozen=True)
class Case:
    """A checkpoint with an oddity, and what its import must record."""

    write: Callable[[Path], Any]
    settled: dict[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()  # in generation_config.json afterwards
    chat_format: str = "own"


def qwen2_without_tokenizer_json(folder: Path) -> None:
    tiny.write_qwen2(folder)
    tiny.to_vocab_and_merges(folder)


def qwen2_with_named_templates(folder: Path) -> None:
    tiny.write_qwen2(folder)
    templates = {"default": tiny.CHATML_WITH_DEFAULT, "tool_use": "{{ tools[0].name }}"}
    named = [{"name": name, "template": text} for name, text in templates.items()]
    tiny.edit_json(folder / TOKENIZER_CONFIG, chat_template=named)


def qwen2_that_ends_with_its_pad_token(folder: Path) -> None:
    tiny.write_qwen2(folder)
    tiny.edit_json(folder / TOKENIZER_CONFIG, eos_token="<|endoftext|>")


def mistral_without_system_turns(folder: Path) -> None:
    tiny.write_mistral(folder, tiny.INST_WITHOUT_SYSTEM)


def smollm2_without_pad_that_ends_texts_only(folder: Path) -> None:
    tiny.write_smollm2(folder)
    tiny.edit_json(folder / TOKENIZER_CONFIG, eos_token="<|endoftext|>", pad_token=None)


def exaone_in_shards(folder: Path) -> None:
    tiny.write_exaone(folder, shards=3)


def llama3_under_another_tokenizers_class(folder: Path) -> None:
    tiny.write_llama3(folder)
    tiny.edit_json(folder / TOKENIZER_CONFIG, tokenizer_class="LlamaTokenizerFast")


SMOLLM2_KEYS = ("_model_name_or_path", "_name_or_path", "is_llama_config", "rope_interleaved", "transformers.js_config")
LLAMA3_TOKENS = {
    "eos_token": "<|end_of_text|> → <|eot_id|>",
    "pad_token": "None → <|reserved_special_token_0|>",
}
CASES = {
    "qwen2: default system turn, several ends, window off": Case(tiny.write_qwen2, dropped=("use_mrope",), ends=(1, 2)),
    "qwen2: vocab.json and merges.txt": Case(qwen2_without_tokenizer_json, dropped=("use_mrope",), ends=(1, 2)),
    "qwen2: several named templates": Case(
        qwen2_with_named_templates, {"template": "default, of default, tool_use"}, ("use_mrope",), (1, 2)
    ),
    "qwen2: ends with its pad token": Case(
        qwen2_that_ends_with_its_pad_token, {"eos_token": "<|endoftext|> → <|im_end|>"}, ("use_mrope",), (1, 2)
    ),
    "qwen3: thinking on": Case(tiny.write_qwen3, ends=(1, 2)),
    "mistral: no pad, BOS of tokenizer and template": Case(
        tiny.write_mistral, {"pad_token": "None → <unk>"}, ("sliding_window",), (2,)
    ),
    "mistral: no system turns, as ChatML": Case(
        mistral_without_system_turns, {"pad_token": "None → <unk>"}, ("sliding_window",), (2,), "chatml"
    ),
    "llama3: no pad, ends texts only, scaled positions": Case(tiny.write_llama3, LLAMA3_TOKENS, (), (1, 2049)),
    "llama3: another tokenizer's class": Case(
        llama3_under_another_tokenizers_class,
        {"tokenizer_class": "LlamaTokenizerFast → TokenizersBackend", **LLAMA3_TOKENS},
        (),
        (1, 2049),
    ),
    "smollm2: pad is end, tied, harmless keys": Case(
        tiny.write_smollm2, {"pad_token": "<|im_end|> → <|endoftext|>"}, SMOLLM2_KEYS, (2,)
    ),
    "smollm2: no pad, ends texts only": Case(
        smollm2_without_pad_that_ends_texts_only,
        {"eos_token": "<|endoftext|> → <|im_end|>", "pad_token": "None → <|endoftext|>"},
        SMOLLM2_KEYS,
        (0, 2),
    ),
    "exaone: GPT-2's names, code beside it": Case(tiny.write_exaone, {}, ("embed_dropout",), (2048,)),
    "exaone: three shards with an index": Case(exaone_in_shards, {}, ("embed_dropout",), (2048,)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_as_it_comes_is_settled_and_ready_to_train(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.write(tmp_path / "source")
    found = imported(tmp_path / "source", tmp_path / "base", case.chat_format)
    # 1. What was decided is recorded.
    assert found["settled"] == case.settled
    assert found["dropped_keys"] == list(case.dropped)
    # 2. A row ends its turn, once; its prompt is masked to the last token before the answer.
    tokenizer = load_tokenizer(tmp_path / "base")
    ids, prompt = row_ids(tokenizer, ROW)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.pad_token_id not in ids
    assert ids[:prompt] == prompt_ids(tokenizer, ROW["prompt"])
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[prompt:]).strip() == ANSWER + tokenizer.eos_token
    assert "You answer in one line" not in tokenizer.decode(ids), "the default system turn"
    # 3. The tokens are those of the checkpoint's own file, and BOS stands once, if at all.
    file = Tokenizer.from_file(str(tmp_path / "base/tokenizer.json"))
    assert file.encode(tokenizer.decode(ids), add_special_tokens=False).ids == ids
    assert [ids.count(token) for token in file.encode("").ids] in ([], [case.chat_format == "own"])
    # 4. An index names the tensors as they are called now.
    if (index := tmp_path / "base/model.safetensors.index.json").exists():
        found_in = {name: path.name for path in index.parent.glob("*.safetensors") for name in load_file(path)}
        assert json.loads(index.read_text())["weight_map"] == found_in
    # 5. Nothing that ended an answer is forgotten.
    ends = json.loads((tmp_path / "base/generation_config.json").read_text())["eos_token_id"]
    assert tuple(ends if isinstance(ends, list) else [ends]) == case.ends


def test_the_page_lists_every_checkpoint_and_its_ends() -> None:
    page = (ROOT / "docs/families.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[-1] for line in page.splitlines() if len(cells := line.strip("| ").split(" | ")) == 4}
    assert {name: ", ".join(map(str, case.ends)) for name, case in CASES.items()}.items() <= rows.items()


def test_what_stands_in_a_prompt_never_pads(tmp_path: Path) -> None:
    marks = ("<|im_start|>", "<|im_end|>", "<|box_start|>")
    for name, special in (("three", marks), ("two", marks[:2])):
        tiny.write_smollm2(tmp_path / name)
        tiny.write_tokenizer(tmp_path / name, special, tiny.CHATML_WITH_DEFAULT, eos_token="<|im_end|>")
    assert imported(tmp_path / "three", tmp_path / "base")["settled"] == {"pad_token": "None → <|box_start|>"}
    with pytest.raises(ArtefactError, match=r"no special token that could pad\.\n.*Add one"):
        imported(tmp_path / "two", tmp_path / "other")


def test_several_templates_without_a_default_are_no_obstacle_to_chatml(tmp_path: Path) -> None:
    tiny.write_qwen2(tmp_path / "source")
    named = [{"name": name, "template": tiny.CHATML_WITH_DEFAULT} for name in ("rag", "tool_use")]
    tiny.edit_json(tmp_path / "source" / TOKENIZER_CONFIG, chat_template=named)
    with pytest.raises(ArtefactError, match="no chat template, or several"):
        imported(tmp_path / "source", tmp_path / "own")
    assert imported(tmp_path / "source", tmp_path / "base", "chatml")["new_tokens"] == {}
    assert row_ids(load_tokenizer(tmp_path / "base"), ROW)


def test_a_tokenizer_that_transformers_insists_on_reading_in_another_way_is_refused(tmp_path: Path) -> None:
    """Qwen2's class is used for every qwen2; it splits no digits, and here two digits are a piece."""
    tiny.write_qwen2(tmp_path / "source")
    path = tmp_path / "source/tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "도"}, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="reads texts as other tokens"):
        imported(tmp_path / "source", tmp_path / "base")


# ---- refused


def without_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_system_turn(folder: Path) -> None:
    tiny.edit_json(folder / TOKENIZER_CONFIG, chat_template=tiny.INST_WITHOUT_SYSTEM)


def with_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: tiny.edit_json(folder / "config.json", **changes)


FAMILY = r"'{}' is not one of exaone, kormo, llama, mistral, qwen2, qwen3\.\n.*docs/families\.md"
REFUSALS = {
    "quantized": (
        "qwen2",
        with_config(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantized already\.\n.*16-bit checkpoint",
    ),
    "a window smaller than a prompt": (
        "mistral",
        with_config(sliding_window=64),
        r"only a part of the text \(64 tokens\)\.\n.*full attention",
    ),
    "windowed layers": (
        "qwen3",
        with_config(layer_types=["full_attention", "sliding_attention"]),
        r"\(sliding_attention\)\.\n.*full attention",
    ),
    "gpt2": ("llama3", with_config(model_type="gpt2"), FAMILY.format("gpt2")),
    "exaone4": ("exaone", with_config(model_type="exaone4"), FAMILY.format("exaone4")),
    "gemma3": ("llama3", with_config(model_type="gemma3"), FAMILY.format("gemma3")),
    "pytorch_model.bin": ("llama3", without_safetensors, r"pytorch_model\.bin only.*\n.*save_pretrained"),
    "no system turn": ("mistral", without_system_turn, r"cannot render a system turn.*please!\.\n.*chatml"),
    "positions of its own": ("llama3", with_config(rope_interleaved=True), r"unknown keys rope_interleaved\."),
    "positions in three parts": ("qwen2", with_config(use_mrope=True), r"unknown keys use_mrope\."),
    "dropout of embeddings": ("exaone", with_config(embed_dropout=0.1), r"unknown keys embed_dropout\."),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_checkpoint_that_the_line_cannot_use_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    family, change, sentence = REFUSALS[name]
    WRITERS[family](tmp_path / "source")
    change(tmp_path / "source")
    with pytest.raises(ArtefactError, match=sentence):
        imported(tmp_path / "source", tmp_path / "base")


# ---- GGUF


@pytest.mark.parametrize(("family", "kind", "largest"), [("exaone", "F16", 1e-4), ("smollm2", "Q8_0", 1.0)])
def test_a_gguf_file_gives_the_model_that_it_was_made_from(
    tmp_path: Path, family: str, kind: str, largest: float
) -> None:
    model = WRITERS[family](tmp_path / "source")
    file = tiny.write_gguf(model, tmp_path / "source", tmp_path / "tiny.gguf", kind)
    found = imported(file, tmp_path / "base")
    assert (found["from_gguf"], found["layout"], found["dropped_keys"]) == ("tiny.gguf", "llama", [])
    differences = (logits(loaded(tmp_path / "base")) - logits(model)).abs()
    assert differences.max() < largest
    assert differences.mean() < largest / 20
    imported(tmp_path / "source", tmp_path / "plain")
    tokenizers = [load_tokenizer(tmp_path / name) for name in ("base", "plain")]
    assert row_ids(tokenizers[0], ROW) == row_ids(tokenizers[1], ROW)
    assert tokenizers[0].pad_token == tokenizers[1].pad_token != tokenizers[0].eos_token
    tensors = [set(load_file(tmp_path / name / "model.safetensors")) for name in ("base", "plain")]
    assert tensors[0] == tensors[1], "a tied head is not stored"


@pytest.mark.parametrize("kept", [0, 3, 5000, -1000])
def test_a_cut_gguf_file_is_refused(tmp_path: Path, kept: int) -> None:
    file = tiny.write_gguf(tiny.write_exaone(tmp_path / "source"), tmp_path / "source", tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ArtefactError, match=r"tiny\.gguf cannot be read as GGUF: .*[^.]\.\n.*Copy it again"):
        imported(file, tmp_path / "base")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "source", "tiny.gguf"]


def test_a_gguf_file_of_a_model_with_scaled_positions_is_refused(tmp_path: Path) -> None:
    """Nothing reads the scaling while dequantizing, and every logit would be wrong."""
    file = tiny.write_gguf(tiny.write_llama3(tmp_path / "source"), tmp_path / "source", tmp_path / "tiny.gguf")
    with pytest.raises(ArtefactError, match=r"scales its positions \(rope_freqs.*\n.*safetensors"):
        imported(file, tmp_path / "base")


def test_a_folder_with_two_gguf_files_is_refused_and_with_one_is_read(tmp_path: Path) -> None:
    file = tiny.write_gguf(tiny.write_smollm2(tmp_path / "source"), tmp_path / "source", tmp_path / "a.gguf")
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copyfile(file, folder / "a.gguf")
    assert list(source_files(folder)) == [folder / "a.gguf"]
    shutil.copyfile(file, folder / "b.gguf")
    with pytest.raises(ArtefactError, match=r"2 GGUF files\.\n.*Name one as base\.path, for example .*a\.gguf"):
        imported(folder, tmp_path / "base")


# ---- folded and quantized


@dataclass(frozen=True)
class Line:
    """A family's folded and quantized line."""

    recipe: Recipe
    merged: Manifest
    awq: Manifest

    def held_out(self) -> HeldOut:
        return HeldOut.read(self.recipe.folder / "data", self.recipe.folder / "merged")


@pytest.fixture(scope="module", params=["qwen2", "qwen3", "mistral", "exaone"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Fold and quantize a family's checkpoint; tests run in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp(request.param))
        WRITERS[request.param](Path("source"))
        recipe = tiny.build_line(request.param, Path("source"))
        yield Line(recipe, run_fold(recipe)[0], run_quantize(recipe)[0])


def test_the_merged_model_is_base_and_adapter(line: Line) -> None:
    found = line.merged.results
    assert found["folded_weights"] == 14
    assert 0 < found["max_logprob_difference"] < 0.2, "rounding to 16 bit, and no more"
    assert found["mean_kl"] < 1e-3


def test_layer_by_layer_is_the_whole_model(line: Line) -> None:
    """Or what both halves of a proof leave out would never show."""
    folder, rows = line.recipe.folder / "merged", line.held_out().rows
    found = Streamed(folder, Checkpoint(folder)).logprobs(rows, "merged")
    model = loaded(folder).eval()
    with torch.inference_mode():
        for row, (ids, prompt) in zip(found, rows, strict=True):
            whole = model(torch.tensor([ids])).logits[0, prompt - 1 : -1].log_softmax(-1)
            assert torch.allclose(row, whole, atol=1e-4)


def test_the_4_bit_checkpoint_is_the_familys(line: Line) -> None:
    config = json.loads((line.recipe.folder / "awq/config.json").read_text())
    assert config["model_type"] == WRITTEN_AS.get(line.recipe.name, "llama")
    group = 64 if line.recipe.name == "exaone" else 128
    assert line.awq.results["group_size"] == config["quantization_config"]["group_size"] == group
    names = load_file(line.recipe.folder / "awq/model.safetensors")
    assert sum(name.endswith(".qweight") for name in names) == 14
    assert sum(name.endswith("_proj.bias") for name in names) == (6 if line.recipe.name == "qwen2" else 0)
    assert line.awq.results["loss_ratio"] < 1.2


def damaged(tensors: dict[str, torch.Tensor], family: str) -> dict[str, torch.Tensor]:
    """Return the tensors with what is special to the family missing or mixed up."""
    swaps = {
        "qwen3": ("self_attn.q_norm", "self_attn.k_norm"),
        "mistral": ("input_layernorm", "post_attention_layernorm"),
        "exaone": ("gate_proj", "up_proj"),
    }
    if family == "qwen2":
        return {name: tensor * 0 if name.endswith(".bias") else tensor for name, tensor in tensors.items()}
    one, other = swaps[family]
    return {name.replace(one, "?").replace(other, one).replace("?", other): tensor for name, tensor in tensors.items()}


def test_the_proof_notices_what_is_special_to_the_family(line: Line, tmp_path: Path) -> None:
    run = line.recipe.folder
    shutil.copytree(run / "merged", tmp_path / "merged")
    path = tmp_path / "merged/model.safetensors"
    save_file(damaged(load_file(path), line.recipe.name), path, metadata={"format": "pt"})
    proof = compare_fold(run / "base", line.recipe.adapter, tmp_path / "merged", line.held_out())
    assert proof["max_logprob_difference"] > line.recipe.merge.max_logprob_difference

"""Import a base as people have it: safetensors or one GGUF file, of a known family, to the layout that the line uses.

Safetensors are streamed: names change, bytes are copied. A GGUF file is dequantized by transformers in memory, in bf16.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.progress import track

from core.errors import ArtefactError
from pipeline.files import write_text
from training.checkpoint import CONFIG, INDEX, TOKENIZER_FILES, copy_renamed, read_json, weight_files
from training.families import family_of, imported_config, imported_name

TOKENIZER = "tokenizer.json"
SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json")  # what comes in its place
MERGES = "merges.txt"


def import_base(source: Path, target: Path) -> dict[str, Any]:
    """Write a checkpoint folder, or a GGUF file, into the empty folder `target`; return a summary.

    Raises:
        ArtefactError: a file is missing, the family is not known, or a config key or tensor is not the family's.
    """
    file = gguf_file(source)
    if file is None:
        return import_checkpoint(source, target)
    with tempfile.TemporaryDirectory(dir=target.parent) as unpacked:
        dequantize(file, Path(unpacked))
        return import_checkpoint(Path(unpacked), target) | {"from_gguf": file.name}


def import_checkpoint(source: Path, target: Path) -> dict[str, Any]:
    """Write a safetensors checkpoint into the empty folder `target`; return a summary, errors as for `import_base`."""
    found = read_json(source / CONFIG)
    family = family_of(found, source / CONFIG)
    config, dropped = imported_config(found, source / CONFIG)
    shards = weight_files(source)
    for shard in track(shards, "import", disable=len(shards) < 2):
        copy_renamed(source / shard, target / shard, lambda name: imported_name(name, family))
    if (source / INDEX).exists():
        index = read_json(source / INDEX)
        index["weight_map"] = {imported_name(name, family): shard for name, shard in index["weight_map"].items()}
        write_text(target / INDEX, json.dumps(index, indent=2))
    write_text(target / CONFIG, json.dumps(config, indent=2))
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    if not (target / TOKENIZER).exists() and any((source / name).exists() for name in SLOW_TOKENIZERS):
        _convert_tokenizer(source, target)
    return {"layout": found["model_type"], "shards": len(shards), "dropped_keys": dropped}


def gguf_file(source: Path) -> Path | None:
    """Return the GGUF file that a base's path names: itself, or the only one in a folder without a config.

    Raises:
        ArtefactError: the folder has several.
    """
    if source.suffix == ".gguf":
        return source
    files = sorted(source.glob("*.gguf"))
    if not files or (source / CONFIG).exists():
        return None
    if len(files) > 1:
        raise ArtefactError(
            f"{source} holds {len(files)} GGUF files.", f"Name one as base.path, for example {files[0]}."
        )
    return files[0]


def dequantize(file: Path, folder: Path) -> None:
    """Write a GGUF file as a plain checkpoint with its tokenizer.

    Raises:
        ArtefactError: not a GGUF file, or one that transformers cannot read or would read as another model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.integrations.gguf import read_gguf_metadata

    place = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "local_files_only": True}
    try:
        scaled = _scales_positions(*read_gguf_metadata(str(file)))
        model = AutoModelForCausalLM.from_pretrained(
            **place, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(**place)
    except Exception as error:  # the reader raises whatever a broken byte leads to
        raise ArtefactError(
            f"{file} cannot be read as GGUF: {str(error).rstrip('.')}.",
            "Copy it again, or use the model's safetensors checkpoint.",
        ) from error
    if scaled:
        raise ArtefactError(
            f"{file}: the model scales its positions ({scaled}), which is lost when a GGUF file is dequantized.",
            "Use the model's safetensors checkpoint.",
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _scales_positions(metadata: dict[str, Any], tensors: Iterable[str]) -> str:
    """Return what says in a GGUF file that its model scales positions, as Llama 3.1's do: transformers skips both."""
    found = [key for key, value in metadata.items() if key.endswith(".rope.scaling.type") and value != "none"]
    found += [name for name in tensors if name.startswith("rope_freqs")]
    return found[0] if found else ""


def _convert_tokenizer(source: Path, target: Path) -> None:
    """Write a tokenizer that comes without tokenizer.json in that form, which every later step reads."""
    from transformers import AutoTokenizer

    try:
        # trust_remote_code: a config.json that names code would be asked about on the console
        AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False).save_pretrained(target)
    except (OSError, ValueError, ImportError) as error:
        raise ArtefactError(
            f"The tokenizer in {source} cannot be converted: {error}.", f"Save it as {TOKENIZER} first."
        ) from error


def source_files(source: Path) -> Iterable[Path]:
    """Yield the files that an import reads.

    Raises:
        ArtefactError: there is no checkpoint, or a shard is missing.
    """
    file = gguf_file(source)
    if file is not None and file.is_file():
        yield file
        return
    if not (source / CONFIG).is_file():
        raise ArtefactError(f"There is no checkpoint in {source}.", "Put it there, or set base.path in the recipe.")
    _refuse_pickles(source)
    yield source / CONFIG
    yield from (source / name for name in weight_files(source))
    others = (INDEX, *TOKENIZER_FILES, *SLOW_TOKENIZERS, MERGES)
    yield from (source / name for name in others if (source / name).exists())


def _refuse_pickles(source: Path) -> None:
    """Refuse weights as pickles: reading them runs whatever code they hold."""
    pickles = sorted(path.name for path in source.glob("pytorch_model*.bin"))
    if pickles and not any(source.glob("*.safetensors")):
        raise ArtefactError(
            f"{source} has its weights as {pickles[0]} only, a format that can run code.",
            "Use the model's safetensors; or load it with transformers, save it with save_pretrained, and use that.",
        )

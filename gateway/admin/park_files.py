"""The park files against what the gateway read when it started: changed ones wait for a restart, wrong ones stop it."""

from collections.abc import Iterator
from pathlib import Path

from core.errors import SignboardError
from gateway.admin.faults import Fault
from gateway.parks import Parks
from gateway.settings import GatewaySettings

Marks = dict[str, tuple[int, int]]  # file name → time of its last change, size


class ParkFiles:
    """Compares the folder with how it was at the start; reads it again only after a change.

    Args:
        settings: name the folder and what park files leave out.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._read = self._seen = _marks(settings.parks)
        self._wrong: Fault | None = None

    def faults(self) -> Iterator[Fault]:
        """Yield what a restart would do differently. Reads from the disk."""
        marks = _marks(self._settings.parks)
        if marks != self._seen:
            self._seen, self._wrong = marks, self._try()
        if self._wrong:
            yield self._wrong
        for name in sorted(self._read.keys() | marks.keys()):
            if self._read.get(name) != marks.get(name):
                yield Fault("ParkFileChanged", name)

    def _try(self) -> Fault | None:
        settings = self._settings
        try:
            Parks(settings.parks, settings.park, settings.parsed_sign, settings.timezone)
        except SignboardError as error:
            return Fault("ParkFileWrong", detail=f"{error.what} {error.todo}".strip())
        return None


def _marks(folder: Path) -> Marks:
    found: Marks = {}
    for path in folder.glob("[!.]*.y*ml"):
        try:
            told = path.stat()
        except OSError:  # it was just removed
            continue
        found[path.name] = (told.st_mtime_ns, told.st_size)
    return found

"""A real oneM2M server, acmecse, on free loopback ports and in memory; and an application on it with one container.

It has a Python environment of its own (`make cse`): its dependencies would change the pins of everything else.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.scripted_server import eventually
from core.ports import free_port
from tests.conftest import ROOT

PROGRAM = ROOT / ".venv/cse/bin/acmecse"
CONFIG = """
[basic.config]
cseType=IN
cseID=id-in
cseName=cse-in
adminID=CAdmin
serviceProviderID=//signboard.test
baseDirectory={folder}
networkInterface=127.0.0.1
cseHost=127.0.0.1
httpPort={port}
logLevel=error
secret=signboard
databaseType=memory
[mqtt]
enable=true
address=127.0.0.1
port={broker}
listenIF=127.0.0.1
[http]
timeout=5
"""
AE, CNT, CIN, SUB = 2, 3, 4, 23  # oneM2M's types of resources
CREATED = 201


class Cse:
    """A running server with the application `lake` and its container `air`.

    Args:
        port: its HTTP port.
    """

    def __init__(self, port: int) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._http.close()

    def prepare(self) -> str:
        """Make the application and its container; return the container's resource id."""
        self.create("/cse-in", AE, {"m2m:ae": {"rn": "lake", "api": "Nlake", "rr": True, "srv": ["4"]}})
        made = self.create("/cse-in/lake", CNT, {"m2m:cnt": {"rn": "air"}}).json()
        return str(made["m2m:cnt"]["ri"])

    def subscribe(self, name: str, target: str) -> httpx.Response:
        """Ask for a notification to `target` whenever the container gets an instance; return the answer, also a no."""
        wanted = {"rn": name, "enc": {"net": [3], "chty": [4]}, "nu": [target], "nct": 1}
        return self._post("/cse-in/lake/air", SUB, {"m2m:sub": wanted})

    def application(self, name: str, address: str) -> str:
        """Make an application that is reached at an address; return its id, which a subscription may name."""
        told = {"rn": name, "api": f"N{name}", "rr": True, "poa": [address], "srv": ["4"]}
        made = self.create("/cse-in", AE, {"m2m:ae": told}, f"C{name}").json()
        return str(made["m2m:ae"]["aei"])

    def measure(self, content: Any) -> None:
        """Put an instance into the container, as a terminal does."""
        self.create("/cse-in/lake/air", CIN, {"m2m:cin": {"con": content}})

    def create(self, place: str, kind: int, resource: dict[str, Any], creator: str = "Clake") -> httpx.Response:
        answer = self._post(place, kind, resource, creator)
        assert answer.status_code == CREATED, answer.text
        return answer

    def _post(self, place: str, kind: int, resource: dict[str, Any], creator: str = "Clake") -> httpx.Response:
        headers = {
            "X-M2M-Origin": creator,
            "X-M2M-RI": str(next(self._numbers)),
            "X-M2M-RVI": "4",
            "Content-Type": f"application/json;ty={kind}",
            "Accept": "application/json",
        }
        return self._http.post(place, content=json.dumps(resource), headers=headers)


@contextmanager
def running_cse(folder: Path, broker_port: int) -> Iterator[Cse]:
    """Run a server that also speaks MQTT through a broker."""
    if not PROGRAM.exists():
        pytest.fail("acmecse is missing: install it with `make cse`")
    folder.mkdir()
    port, log = free_port(), folder / "log"
    (folder / "acme.ini").write_text(CONFIG.format(folder=folder, port=port, broker=broker_port))
    command = [str(PROGRAM), "--headless", f"--base-directory={folder}", "--config=acme.ini"]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        cse = Cse(port)
        try:
            # Not by asking: a request that comes before its resources are there ends its start.
            assert eventually(lambda: "CSE started" in log.read_text(), 60), log.read_text()
            yield cse
        finally:
            cse.close()
            process.kill()

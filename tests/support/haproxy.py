"""HAProxy with the shipped configuration, before gateways on loopback."""

import os
import shutil
from pathlib import Path

CONFIGURATION = Path(__file__).parents[2] / "deploy/haproxy/haproxy.cfg"
PLACES = f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin"


def haproxy_command(file: Path, port: int, gateways: list[int]) -> list[str]:
    """Write a configuration that listens at a port and asks two gateways at others; return the command that uses it."""
    text = CONFIGURATION.read_text(encoding="utf-8").replace("127.0.0.1:80\n", f"127.0.0.1:{port}\n")
    for address, gateway in zip(("10.0.0.11:8080", "10.0.0.12:8080"), gateways, strict=True):
        text = text.replace(address, f"127.0.0.1:{gateway}")
    file.write_text(text, encoding="utf-8")
    program = shutil.which("haproxy", path=PLACES)
    assert program, "HAProxy is missing: apt-get install haproxy"
    return [program, "-db", "-f", str(file)]

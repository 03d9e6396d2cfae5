"""Prove that nothing uses the network: run the line in a network namespace that counts every outgoing packet.

Usage: python -m benchmarks.air_gap [--recipe recipes/nano.yaml] [--name air-gap]
In: Linux with `unshare` and `ip` (util-linux, iproute2) and user namespaces. Out: every command's exit code and the
packets it sent; exit code 1 unless all commands succeed and send none.

The namespace has loopback and one other interface. All other traffic, name look-ups included, is routed to that
interface, whose far end is connected to nothing.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from core.errors import StageError
from pipeline.cli import DEFAULT_RECIPE, console, run_app, show_table
from pipeline.recipe import load_recipe

# 192.0.2.0/24 is reserved for documentation; the neighbour's address is static, so that packets leave without ARP.
SEAL = """
set -e
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null || true
ip link set lo up
ip link add out type veth peer name wire
ip addr add 192.0.2.1/24 dev out
ip link set wire up
ip link set out up
ip route add default via 192.0.2.2
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out
mount --bind "$1" /etc/resolv.conf
counts="$2"
shift 2
set +e
"$@"
code=$?
awk '$1 == "out:" {print $11}' /proc/net/dev > "$counts"
exit $code
"""


def sealed(command: list[str], *, timeout: float | None = None) -> tuple[int, int]:
    """Run a command without a network; return its exit code and the number of packets that it tried to send.

    Raises:
        StageError: this machine cannot create such a namespace.
    """
    if lacking := [name for name in ("unshare", "ip", "mount", "awk") if not shutil.which(name)]:
        raise StageError(f"{', '.join(lacking)} not found.", "Install util-linux, iproute2 and mawk.")
    with tempfile.TemporaryDirectory() as folder:
        resolver, counts = Path(folder) / "resolv.conf", Path(folder) / "packets"
        resolver.write_text("nameserver 192.0.2.53\noptions timeout:1 attempts:1\n")
        enter = ["unshare", "--user", "--map-root-user", "--net", "--mount", "bash", "-c", SEAL, "seal"]
        done = subprocess.run([*enter, str(resolver), str(counts), *command], timeout=timeout, check=False)
        if not counts.exists():
            raise StageError("No network namespace could be created here.", "Allow user namespaces, or run it as root.")
        return done.returncode, int(counts.read_text())


def main(
    recipe: Annotated[Path, typer.Option(help="The recipe to run.")] = DEFAULT_RECIPE,
    name: Annotated[str, typer.Option(help="Folder under runs/, removed before and after.")] = "air-gap",
) -> None:
    """Run data, training, merge and serving from nothing."""
    options = ["--recipe", str(recipe), "--set", f"name={name}"]
    folder = load_recipe(recipe, [f"name={name}"]).folder
    shutil.rmtree(folder, ignore_errors=True)
    rows = [["command", "exit code", "packets sent out", "seconds"]]
    try:
        for arguments in (
            ["data", "build"],
            ["training", "sft"],
            ["merge", "all"],
            ["evaluation", "demo"],
        ):
            start = time.monotonic()
            code, packets = sealed([sys.executable, "-m", *arguments, *options])
            rows.append([" ".join(arguments), str(code), str(packets), f"{time.monotonic() - start:.0f}"])
            if code:
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show_table("No way out", rows)
    if any(row[1:3] != ["0", "0"] for row in rows[1:]):
        raise StageError("A command failed or used the network.", "The table shows which one.")
    console.print("nothing left this machine")


if __name__ == "__main__":
    run_app(lambda: typer.run(main))

"""Tell systemd how the gateway is: ready, alive, stopping (sd_notify(3)). Without systemd it tells nobody.

In: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, which systemd sets for `Type=notify` and `WatchdogSec=`.
"""

import asyncio
import os
import socket

from gateway.log import LOG

PER_WATCHDOG = 3  # signs of life in one WatchdogSec: two may be late or lost


def notify(state: str) -> None:
    """Send one state, such as READY=1; a lost one must not stop the gateway."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.setblocking(False)  # a systemd that does not read must not stop the event loop
            systemd.sendto(state.encode(), address)
    except OSError as error:
        LOG.warning("systemd could not be told", extra={"state": state, "why": str(error)})


def watchdog_pause() -> float | None:
    """Return the seconds between two signs of life; None: systemd does not watch this process."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())  # a child inherits the variables
    return int(wanted) / 1e6 / PER_WATCHDOG if wanted.isdigit() and int(wanted) and ours else None


async def keep_alive(pause: float) -> None:
    """Send signs of life from the event loop for ever: if the loop hangs, they stop, and systemd restarts us."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(pause)

"""What a service manager is told (systemd's ``Type=notify``); nothing where none listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"
WATCHDOG_VARIABLE = "WATCHDOG_USEC"


def notify(state: str) -> None:
    """Send a state such as ``READY=1`` to the socket that the environment names; see sd_notify(3)."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def keep_alive() -> None:
    """Tell the manager twice in each of its watchdog's intervals that the event loop turns; it restarts a daemon that falls silent."""
    interval = os.environ.get(WATCHDOG_VARIABLE, "")
    if not interval.isdecimal() or not int(interval):
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(int(interval) / 2e6)

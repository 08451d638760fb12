"""Telling systemd how the service fares (sd_notify). Without systemd, nothing happens."""

import os
import socket

from certagent.domain.ports import Clock


def notify(state: str) -> None:
    """Send e.g. `READY=1` to the service manager, if the process was started by one that wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(state.encode(), path)


async def feed_watchdog(clock: Clock) -> None:
    """Tell the service manager that this process lives, three times as often as it has to; never returns if it wants
    to hear it."""
    microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
    while microseconds:
        notify("WATCHDOG=1")
        await clock.sleep(microseconds / 3e6)

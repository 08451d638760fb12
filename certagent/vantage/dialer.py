"""Connections as Go's dialer makes them when the CA fetches a challenge, but to all addresses at the same time, so that
the duration is bounded.

Go tries the addresses of the first address's family in turn; the other family starts when those have failed, or after
300 ms. An error moves on to the next address; silence does not: Go's transport dials without a deadline (since 1.23),
and the CA's HTTP client gives up after 30 s, before the kernel does. Measured with Go 1.26: if the first address drops
every packet, the request ends in that timeout, even if the second address of the same family works; if the first
address refuses, or no neighbour answers for it (which the kernel reports after 3.06 s), the second one is tried.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from certagent.domain.resolution.file_formats import leads_to_itself
from certagent.system import http
from certagent.system.procfs import source_address
from certagent.vantage.rehearsal_limits import is_on_the_network

CONNECTING_FOR = timedelta(seconds=3.3)  # longer than the kernel looks for a missing neighbour (3 s)
FALL_BACK_AFTER = timedelta(milliseconds=300)
MOST_ADDRESSES = 8
ASKING_OURSELVES_FOR = timedelta(milliseconds=200)

_ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ETIMEDOUT: "timeout",
}


class Trial(msgspec.Struct, frozen=True):
    """One address that was tried. `error` is null for the connection that is used, and otherwise "refused",
    "timeout", "no_route", "reset", or "forbidden": a server may listen there, but a rehearsal must not find out.
    `is_local`: this node itself holds its packets back, by a route or a filter."""

    address: str
    error: str | None = None
    errno: str | None = None
    took_ms: int = 0
    is_local: bool = False


class Dialled(msgspec.Struct, frozen=True):
    """The result that the CA's dialer would get: the trials in its order, the last one with the connection, if there
    is one."""

    trials: tuple[Trial, ...]
    connection: socket.socket | None = None


class Dialer:
    """Connects as the CA's dialer does. `may_connect` judges addresses; `listens` returns, without connecting, whether
    this node listens on an address.

    `is_silence_final`: whether silence ends the dial. A dialer that has a timeout of its own (30 s for the CA's
    tls-alpn-01) divides it among the addresses, so there silence moves on as well (Go's net/dial.go, partialDeadline).
    """

    def __init__(
        self,
        may_connect: Callable[[str], bool] = is_on_the_network,
        listens: Callable[[str, int], bool] = lambda _address, _port: True,
        connecting_for: timedelta = CONNECTING_FOR,
        is_silence_final: bool = True,
    ) -> None:
        self._may_connect = may_connect
        self._listens = listens
        self._connecting_for = connecting_for
        self._last_words = ("timeout", "forbidden") if is_silence_final else ("forbidden",)

    async def dial(self, addresses: Sequence[str], port: int) -> Dialled:
        """Connect as Go would; every other connection is closed again. `addresses` is ordered and not empty."""
        wanted = list(dict.fromkeys(addresses))[:MOST_ADDRESSES]
        tasks = {
            address: asyncio.create_task(self._try(address, port), name=f"connect {address}:{port}")
            for address in wanted
        }
        winner: socket.socket | None = None
        try:
            winner, trials = await _race(tasks, self._last_words)
        finally:
            await _give_up(list(tasks.values()), winner)
        return Dialled(trials, winner)

    async def _try(self, address: str, port: int) -> tuple[Trial, socket.socket | None]:
        if not self._may_connect(address):
            return self._without_connecting(address, port), None
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        error: OSError
        try:
            async with asyncio.timeout(self._connecting_for.total_seconds()):
                connection = await http.connect(address, port)
        except TimeoutError as timeout:
            error = timeout
        except OSError as failure:
            error = failure
        else:
            return self._checked(connection, address, _milliseconds(loop.time() - began_at))
        took_ms, kind = _milliseconds(loop.time() - began_at), kind_of(error)
        is_local = await _is_kept_in(address, port, kind)
        return Trial(address, kind, errno.errorcode.get(error.errno or 0), took_ms, is_local), None

    def _checked(self, connection: socket.socket, address: str, took_ms: int) -> tuple[Trial, socket.socket | None]:
        """Judge the address that the connection really reached, not the one that was requested."""
        if self._may_connect(connection.getpeername()[0]):
            return Trial(address, took_ms=took_ms), connection
        connection.close()
        return Trial(address, "forbidden"), None

    def _without_connecting(self, address: str, port: int) -> Trial:
        """Return a refusal where nothing listens on this node: the CA would be refused, which can be known without a
        connection."""
        if leads_to_itself(address) and not self._listens(address, port):
            return Trial(address, "refused", "ECONNREFUSED")
        return Trial(address, "forbidden")


async def _is_kept_in(address: str, port: int, kind: str) -> bool:
    """Return whether this node itself blocks packets to that address. A missing route is reported by the kernel
    without a packet. For silence: an outgoing filter for that port also blocks a connection to this node's own
    address, where the kernel otherwise always answers."""
    if kind not in ("no_route", "timeout"):
        return False
    source = source_address(address)
    if source is None or kind == "no_route":
        return source is None
    try:
        async with asyncio.timeout(ASKING_OURSELVES_FOR.total_seconds()):
            (await http.connect(source, port)).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def kind_of(error: OSError) -> str:
    """Return a kernel error as one of the words of `Hop.error`."""
    if isinstance(error, ConnectionResetError):  # a handshake that ends early raises one without an errno
        return "reset"
    return "timeout" if isinstance(error, TimeoutError) else _ERRORS.get(error.errno or 0, "no_route")


_Task = asyncio.Task[tuple[Trial, socket.socket | None]]
_Racer = asyncio.Task[tuple[socket.socket | None, tuple[Trial, ...]]]


async def _race(tasks: dict[str, _Task], last_words: tuple[str, ...]) -> tuple[socket.socket | None, tuple[Trial, ...]]:
    first_is_v6 = ":" in next(iter(tasks))
    primaries = [task for address, task in tasks.items() if (":" in address) == first_is_v6]
    fallbacks = [task for address, task in tasks.items() if (":" in address) != first_is_v6]
    async with asyncio.TaskGroup() as group:
        primary = group.create_task(_in_turn(primaries, last_words), name="dial primaries")
        fallback = group.create_task(_in_turn(fallbacks, last_words), name="dial fallbacks")
        await asyncio.wait((primary,), timeout=FALL_BACK_AFTER.total_seconds() if fallbacks else None)
        if not _has_won(primary):
            await asyncio.wait((primary, fallback), return_when=asyncio.FIRST_COMPLETED)
            if not (_has_won(primary) or _has_won(fallback)):
                await asyncio.wait((primary, fallback))
        winners = [racer for racer in (primary, fallback) if _has_won(racer)]
        primary.cancel()
        fallback.cancel()
    if primary in winners:
        return primary.result()
    tried = [trial for racer in (primary, fallback) if not racer.cancelled() for trial in racer.result()[1]]
    return (fallback.result()[0] if winners else None), tuple(tried)


def _has_won(racer: _Racer) -> bool:
    """Return whether the racer has a connection, or has reached an address where Go would have one and a rehearsal
    must not connect: in both cases the other family has lost."""
    if not racer.done():
        return False
    connection, trials = racer.result()
    return connection is not None or (bool(trials) and trials[-1].error == "forbidden")


async def _in_turn(tasks: list[_Task], last_words: tuple[str, ...]) -> tuple[socket.socket | None, tuple[Trial, ...]]:
    trials = []
    for task in tasks:
        trial, connection = await asyncio.shield(task)
        trials.append(trial)
        if connection is not None:
            return connection, tuple(trials)
        if trial.error in last_words:
            break
    return None, tuple(trials)


async def _give_up(tasks: list[_Task], winner: socket.socket | None) -> None:
    """Cancel the attempts that are still connecting, and close the connections that lost."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        connection = None if task.cancelled() else task.result()[1]
        if connection is not None and connection is not winner:
            connection.close()


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)

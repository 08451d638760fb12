"""Who answers the challenges of this node's certificates: one solver for each, opened once."""

from contextlib import AsyncExitStack
from typing import Protocol

from certagent.agent.preflight import Responder
from certagent.config import AgentSettings, CertificateSection, ListenerSolver
from certagent.domain.ports import Clock
from certagent.issuance.order import Solver
from certagent.issuance.solvers.alpn import AlpnListener
from certagent.issuance.solvers.listener import Listener
from certagent.issuance.solvers.rfc2136 import WrittenRecord, ZoneWriter
from certagent.state import State


class Answering(Solver, Responder, Protocol):
    """Answers orders and rehearsals alike, in the same place."""


async def open_solvers(
    settings: AgentSettings, state: State, clock: Clock, stack: AsyncExitStack
) -> dict[str, Answering]:
    """By certificate; certificates with the same `listen` share one."""
    by_address: dict[str, Answering] = {}
    solvers: dict[str, Answering] = {}
    for certificate in settings.certificate:
        if certificate.solver is None:
            continue
        if not isinstance(certificate.solver, ListenerSolver):
            solvers[certificate.name] = ZoneWriter(certificate.solver, RecordJournal(state, certificate.name), clock)
            continue
        listen = certificate.solver.listen
        if listen not in by_address:
            by_address[listen] = await stack.enter_async_context(_listener(certificate, listen, clock))
        solvers[certificate.name] = by_address[listen]
    return solvers


def _listener(certificate: CertificateSection, listen: str, clock: Clock) -> Listener | AlpnListener:
    return AlpnListener(listen, clock) if certificate.challenge == "tls-alpn-01" else Listener(listen, clock)


class RecordJournal:
    """See `certagent.issuance.solvers.rfc2136.Journal`: one record of the state folder for each certificate."""

    def __init__(self, state: State, certificate: str) -> None:
        self._state = state
        self._name = f"dns01-{certificate}"

    def load(self) -> tuple[WrittenRecord, ...]:
        """What was written and not taken away."""
        return self._state.read_record(self._name, tuple[WrittenRecord, ...]) or ()

    def save(self, records: tuple[WrittenRecord, ...]) -> None:
        """Keep it."""
        self._state.write_record(self._name, records)

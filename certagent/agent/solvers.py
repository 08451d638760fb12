"""What answers the challenges of this node's certificates: one solver for each, opened once."""

from contextlib import AsyncExitStack
from typing import Generic, Protocol, TypeVar

from certagent.agent.preflight import Responder
from certagent.config import (
    AgentSettings,
    CertificateSection,
    HookSolver,
    ListenerSolver,
    Rfc2136Solver,
    StatelessSolver,
    WebrootSolver,
)
from certagent.domain.ports import Clock
from certagent.issuance.keys import ensure_account, thumbprint
from certagent.issuance.order import Solver
from certagent.issuance.solvers.dns01_program import Dns01Program, HookRecord
from certagent.issuance.solvers.responders import Http01Responder, TlsAlpn01Responder
from certagent.issuance.solvers.stateless import Stateless
from certagent.issuance.solvers.webroot import Webroot
from certagent.state import State

_Record = TypeVar("_Record")


class ChallengeResponder(Solver, Responder, Protocol):
    """Answers orders and rehearsals alike, in the same place."""


async def open_solvers(
    settings: AgentSettings, state: State, clock: Clock, stack: AsyncExitStack
) -> dict[str, ChallengeResponder]:
    """By certificate; certificates with the same `listen` share one."""
    by_address: dict[str, ChallengeResponder] = {}
    solvers: dict[str, ChallengeResponder] = {}
    for certificate in settings.certificate:
        if isinstance(certificate.solver, ListenerSolver):
            listen = certificate.solver.listen
            if listen not in by_address:
                by_address[listen] = await stack.enter_async_context(_listener(certificate, listen, clock))
            solvers[certificate.name] = by_address[listen]
        elif certificate.solver is not None:
            solvers[certificate.name] = _solver(settings, certificate, state, clock)
    return solvers


def _listener(certificate: CertificateSection, listen: str, clock: Clock) -> Http01Responder | TlsAlpn01Responder:
    return (
        TlsAlpn01Responder(listen, clock) if certificate.challenge == "tls-alpn-01" else Http01Responder(listen, clock)
    )


def _solver(settings: AgentSettings, certificate: CertificateSection, state: State, clock: Clock) -> ChallengeResponder:
    """A solver that does not listen by itself."""
    name = certificate.name
    match certificate.solver:
        case Rfc2136Solver() as solver:
            from certagent.issuance.solvers.dns01_update import Dns01Updater, WrittenRecord

            return Dns01Updater(solver, RecordJournal(state, f"dns01-{name}", tuple[WrittenRecord, ...]), clock)
        case HookSolver() as solver:
            return Dns01Program(solver, RecordJournal(state, f"hook-{name}", tuple[HookRecord, ...]))
        case WebrootSolver(path=path):
            return Webroot(path, RecordJournal(state, f"webroot-{name}", tuple[str, ...]))
        case StatelessSolver(snippet=snippet):
            account = ensure_account(state.account(settings.authority.directory))
            return Stateless(snippet, thumbprint(account))
        case other:
            raise TypeError(f"{other!r} answers no challenge")


class RecordJournal(Generic[_Record]):
    """What a solver published and has to clean up: one record of the state folder for each certificate."""

    def __init__(self, state: State, name: str, kind: type[tuple[_Record, ...]]) -> None:
        self._state = state
        self._name = name
        self._kind = kind

    def load(self) -> tuple[_Record, ...]:
        """What was published and not cleaned up."""
        return self._state.read_record(self._name, self._kind) or ()

    def save(self, records: tuple[_Record, ...]) -> None:
        """Replace the record."""
        self._state.write_record(self._name, records)

"""One owner per certificate: whoever looks after it holds its locks, in the state and at each target, until the end.

Two agents that are told to own the same certificate would issue and deploy against each other for ever.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from certagent.config import CertificateSection
from certagent.domain import catalogue
from certagent.domain.findings import Culprit, Finding, Vantage
from certagent.state import State
from certagent.system.files import LockedError, lock_file


class CertificateLocks:
    """What this agent holds. Use as a context manager."""

    def __init__(self, node: str, state: State, lock_files: Callable[[CertificateSection], list[Path]]) -> None:
        self._node = node
        self._state = state
        self._lock_files = lock_files
        self._held = ExitStack()
        self._names: set[str] = set()

    def __enter__(self) -> "CertificateLocks":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def holds(self, name: str) -> bool:
        """Whether this agent looks after that certificate."""
        return name in self._names

    def take(self, certificate: CertificateSection) -> Finding | None:
        """Hold it from now on; who holds it already, as a finding (cert.two_owners), if that is another. Blocks."""
        if certificate.name in self._names:
            return None
        holder = f"the agent {self._node}, process {os.getpid()}"
        with ExitStack() as taken:
            try:
                with suppress(OSError):  # a state that cannot be written is told by whoever writes
                    taken.enter_context(self._state.certificate(certificate.name).lock(holder))
                for path in self._lock_files(certificate):
                    with suppress(OSError):  # nor can a deployment then
                        taken.enter_context(lock_file(path, holder))
            except LockedError as error:
                return _two_owners(self._node, certificate, str(error))
            self._held.push(taken.pop_all())
            self._names.add(certificate.name)
        return None


def _two_owners(node: str, certificate: CertificateSection, other: str) -> Finding:
    return catalogue.finding(
        "cert.two_owners",
        vantage=Vantage.STATIC,
        reporter=node,
        identifier=certificate.identifiers[0],
        culprit=Culprit(node=node),
        holder=other,
        certificate=certificate.name,
    )

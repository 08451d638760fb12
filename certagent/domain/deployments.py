"""Deployments and proofs as values: what was put where, and which certificate was then seen to be served. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.certificates import CertificateFacts


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """One issued certificate with its key, numbered per certificate from 1. The chain is leaf first, no root; PEM."""

    number: int
    key_pem: bytes
    chain_pem: bytes
    facts: CertificateFacts

    def __repr__(self) -> str:
        return f"Generation(number={self.number}, fingerprint={self.facts.fingerprint!r})"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with a target; becomes a finding of that code and variant. `detail` holds JSON values only."""

    code: str
    variant: str = ""
    facts: dict[str, Fact] = {}
    file: str | None = None
    line: int | None = None
    text: str | None = None
    address: str | None = None
    detail: dict[str, Any] = {}


class WantedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof looks for. `key`: the kind of its key, where that is known. `is_restored`: it was there before, and
    is good enough as it was, whether a client accepts it or not. `may_flicker`: what served before may go on for a
    moment beside it, so that one good look is no proof."""

    fingerprint: str
    key: str | None = None
    is_restored: bool = False
    may_flicker: bool = True


class ServedAs(StrEnum):
    """What an endpoint served, measured by the certificate that is wanted."""

    PROVEN = "proven"
    OTHER = "other"  # another certificate: as a rule the old one
    REFUSED = "refused"  # the wanted one, in a chain or under a name that a client refuses; `distrust` says why
    DEFAULT = "default"  # the server's own stop-gap, which no client trusts
    NOTHING = "nothing"  # no handshake; `error` says why


class EndpointProof(msgspec.Struct, frozen=True, kw_only=True):
    """The last look at one endpoint (`address:port`) under one name. `took` is from the start of the proof.

    `error` and `distrust` are those of `certagent.system.handshake.Handshake`.
    """

    endpoint: str
    server_name: str
    served_as: ServedAs
    fingerprint: str | None = None
    leaf: CertificateFacts | None = None
    error: str | None = None
    distrust: str | None = None
    detail: str = ""
    looks: int = 1
    took: timedelta = timedelta()


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """Whether `fingerprint` is served on every endpoint under every name. Without endpoints nothing is proven."""

    fingerprint: str
    endpoints: tuple[EndpointProof, ...]

    @property
    def is_proven(self) -> bool:
        """Every endpoint under every name, and at least one."""
        return bool(self.endpoints) and not self.missing

    @property
    def missing(self) -> tuple[EndpointProof, ...]:
        """Where something else is served, or nothing."""
        return tuple(one for one in self.endpoints if one.served_as is not ServedAs.PROVEN)


class RollbackResult(msgspec.Struct, frozen=True):
    """What a roll-back went back to; `fingerprint` is None where that was no certificate, or none to be read."""

    fingerprint: str | None


class LivePair(msgspec.Struct, frozen=True, kw_only=True):
    """What a target has live on disk, whoever put it there. `file` is what a person would look at: the certificate's
    path, or the YAML that names it. `facts` None: no certificate is to be had there."""

    file: str
    key_file: str
    facts: CertificateFacts | None = None
    key_fits: bool = True
    is_open: bool = False  # everybody may read the key
    changed_at: datetime | None = None
    changed_by: str | None = None  # whose file it is

    @property
    def fingerprint(self) -> str | None:
        """Of the certificate."""
        return self.facts.fingerprint if self.facts is not None else None


class DeploymentOutcome(StrEnum):
    """How a deployment ended."""

    PROVEN = "proven"
    UNPROVEN = "unproven"  # promoted and reloaded, but no endpoint is configured to look at
    ROLLED_BACK = "rolled_back"  # the pair from before is in place again
    FAILED = "failed"  # not even promoted, or there was nothing to go back to: see the faults


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a deployment, and how long it took."""

    name: str
    took: timedelta


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment of one generation to one target came to. Faults are in the order of their appearance.

    `restored` is the proof, after a roll-back, that the pair from before is served.
    """

    target: str
    kind: str
    generation: int
    fingerprint: str
    outcome: DeploymentOutcome
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    proof: Proof | None = None
    restored: Proof | None = None

    @property
    def is_good(self) -> bool:
        """Whether the new generation is in place for good."""
        return self.outcome in (DeploymentOutcome.PROVEN, DeploymentOutcome.UNPROVEN)


def seen_served(deployments: Sequence[Deployment]) -> tuple[EndpointProof, ...]:
    """What the proofs of all targets have shown."""
    return tuple(one for deployment in deployments if deployment.proof for one in deployment.proof.endpoints)

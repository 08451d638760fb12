"""Run as a program: deploys once, and is killed (SIGKILL) on reaching the step that it is told.

Its words are STEP and JOB, a JSON file of `Job`.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from certagent.config import CommandTarget, HaproxyTarget
from certagent.deployers.deploy import Deployer, make_target
from certagent.domain.certificates import read_roots
from certagent.domain.deployments import Deployment, Generation, Proof, WantedCertificate
from certagent.proof import Prover, Trust
from certagent.system.clock import SystemClock
from tests.deployers.reloads import RELOADS


class _Work(msgspec.Struct, kw_only=True):
    """A generation, and what it is proven by."""

    generation: Generation
    root: Path
    name: str = "web"
    within: float = 5.0

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Of the certificate."""
        return self.generation.facts.identifiers


class Job(_Work, kw_only=True):
    """A deployment to a target that is reloaded by a command and proven at its endpoints."""

    settings: CommandTarget


class HaproxyJob(_Work, kw_only=True):
    """The same to a HAProxy."""

    settings: HaproxyTarget


async def deploy(job: Job | HaproxyJob, step: str = "") -> Deployment:
    """Do it; at `step` this process dies."""
    prover = Prover(job.root, SystemClock())

    async def prove(wanted: WantedCertificate) -> Proof:
        if step == "prove":
            die()
        within = timedelta(seconds=job.within)
        trust = Trust(is_needed=not wanted.is_restored)
        return await prover.prove(
            wanted.fingerprint, job.settings.prove, job.identifiers, within, key=wanted.key, trust=trust
        )

    target = make_target(job.name, job.settings, RELOADS)
    if step not in ("", "prove"):
        setattr(target, step, die)
    return await Deployer(job.identifiers, read_roots(job.root.read_bytes()), SystemClock()).deploy(
        target, job.generation, prove
    )


def die(*_: Any) -> None:
    """As by the kernel."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Read the job, and die."""
    job = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=Job, dec_hook=lambda kind, it: kind(it))
    asyncio.run(deploy(job, sys.argv[1]))

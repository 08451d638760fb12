"""One run over one certificate, and what is on disk of it meanwhile. Decides nothing."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from certagent.agent.reporter import Run
from certagent.agent.schedule import Need
from certagent.config import CertificateSection
from certagent.domain.deployments import Generation
from certagent.domain.orders import Issued
from certagent.domain.policy import Judgement
from certagent.state import CertificateFolder, RunRecord


class RenewalAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run over one certificate. What it is at is on disk, for the start after a kill."""

    certificate: CertificateSection
    folder: CertificateFolder
    run: Run
    judgements: Sequence[Judgement] = ()
    need: Need = Need.NONE
    retry_after: timedelta | None = None  # should it fail

    def record_step(self, step: str, generation: Generation | None = None) -> None:
        """Say in the state folder what comes next. Raises OSError."""
        record = RunRecord(
            id=self.run.id,
            certificate=self.certificate.name,
            trigger=self.run.trigger,
            step=step,
            started_at=self.run.started_at,
            generation=generation.number if generation is not None else None,
        )
        self.folder.save_run(record)

    def keep(self, issued: Issued) -> Generation:
        """Have the pair on disk before its order is forgotten; it is to be deployed next. Blocks; raises OSError."""
        generation = self.folder.add_generation(issued.key_pem, issued.chain_pem)
        self.record_step("deploy", generation)
        self.folder.forget_order()
        self.folder.forget_unchallenged()
        return generation

"""What Traefik's dynamic files say beside ours: pairs of others' for the names that are deployed to it."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from certagent.config import CertificateSection, TraefikTarget
from certagent.domain.catalogue import Fact
from certagent.domain.deployments import Fault
from certagent.vantage.kept_readings import KeptReading
from certagent.vantage.traefik_files import TRAEFIK
from certagent.vantage.traefik_pairs import TraefikPair, find_traefik_pairs


class TraefikReader:
    """Reads the files when it is asked, and again when one of them has changed. Blocks."""

    def __init__(self, static_paths: tuple[Path, ...] = TRAEFIK) -> None:
        self._static_paths = static_paths
        self._kept: dict[Path, KeptReading[tuple[TraefikPair, ...]]] = {}
        self._busy = Lock()

    def find_rivals(
        self, certificate: CertificateSection, settings: TraefikTarget, sections: Sequence[CertificateSection]
    ) -> list[Fault]:
        """The entries of others' for one of the certificate's names, a fault per file: of two pairs Traefik takes
        either. What another of the `sections` has there is none, unless that is for the same name: it may have a pair
        of its earlier names still."""
        wanted = {identifier.lower() for identifier in certificate.identifiers}
        beside = [one for one in sections if not wanted & {name.lower() for name in one.identifiers}]
        own = {(settings.dynamic / f"certagent-{one.name}.yml").resolve() for one in (certificate, *beside)}
        by_file: dict[str, list[TraefikPair]] = {}
        for pair in self._read(settings.dynamic):
            if pair.names & wanted and Path(pair.place.file).resolve() not in own:
                by_file.setdefault(pair.place.file, []).append(pair)
        target = f"traefik {settings.dynamic / f'certagent-{certificate.name}.yml'}"
        return [_fault(target, pairs, wanted) for pairs in by_file.values()]

    def _read(self, dynamic: Path) -> tuple[TraefikPair, ...]:
        with self._busy:  # many certificates may ask at once, each from a thread of its own
            if dynamic not in self._kept:
                self._kept[dynamic] = KeptReading(
                    lambda folder, note: find_traefik_pairs(folder, note, self._static_paths)
                )
            return self._kept[dynamic].read(dynamic).value


def _fault(target: str, pairs: list[TraefikPair], wanted: set[str]) -> Fault:
    first = pairs[0]
    facts: dict[str, Fact] = {
        "target": target,
        "names": sorted(set().union(*(pair.names for pair in pairs)) & wanted),
        "evidence": first.certificate,
    }
    return Fault(
        code="deploy.rival_pair",
        facts=facts,
        file=first.place.file,
        line=first.place.line,
        text=first.place.text,
        detail={"lines": [pair.place.line for pair in pairs], "certificates": [pair.certificate for pair in pairs]},
    )

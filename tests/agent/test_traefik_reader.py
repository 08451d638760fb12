"""Pairs of others' beside ours in Traefik's files: found before an order, by file and line."""

from pathlib import Path

import pytest

from certagent.agent.deployment import DeploymentService
from certagent.agent.traefik_reader import TraefikReader
from certagent.config import CertificateSection, TraefikTarget
from certagent.deployers.deploy import make_target
from certagent.deployers.target import Target
from certagent.domain.deployments import Fault
from certagent.proof import Prover
from tests.agent.context import make_context
from tests.certificates import Authority
from tests.deployers.reloads import RELOADS

NAME = "traefik.internal"


class _Place:
    """A file provider's folder with our own file in it, and a certificate of somebody else's."""

    def __init__(self, root: Path) -> None:
        self.dynamic = root / "traefik" / "dynamic"
        self.dynamic.mkdir(parents=True)
        self.static = root / "traefik" / "traefik.yml"
        self.static.write_text(f"providers:\n  file:\n    directory: {self.dynamic}\n")
        self.settings = TraefikTarget(dynamic=self.dynamic)
        self.section = CertificateSection(name="traefik", identifiers=(NAME, "other.internal"), deploy=(self.settings,))
        self.authority = Authority()
        self.target: Target = make_target("traefik", self.settings, RELOADS)
        generation = self.authority.issue(NAME).generation()
        self.target.stage(generation)
        self.target.promote(generation)
        self.reader = TraefikReader((self.static,))
        self.beside: list[CertificateSection] = []

    def pair(self, name: str = NAME, file: str = "mine") -> tuple[Path, Path]:
        """Of somebody else's, in files of its own."""
        pair = self.authority.issue(name)
        chain, key = self.static.parent / f"{file}.crt", self.static.parent / f"{file}.key"
        chain.write_bytes(pair.chain_pem)
        key.write_bytes(pair.key_pem)
        return chain, key

    def write(self, text: str, name: str = "tls.yml") -> Path:
        """A dynamic file."""
        path = self.dynamic / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def rivals(self) -> list[Fault]:
        """What is found."""
        return self.reader.find_rivals(self.section, self.settings, (self.section, *self.beside))

    def places(self) -> list[tuple[str, int | None]]:
        """By file, below the folder, and line."""
        return [(str(Path(one.file or "").relative_to(self.dynamic)), one.line) for one in self.rivals()]


@pytest.fixture
def place(tmp_path: Path) -> _Place:
    """Traefik's."""
    return _Place(tmp_path)


def _entry(chain: object, key: object, more: str = "") -> str:
    return f"    - certFile: {chain}\n      keyFile: {key}\n{more}"


HEAD = "tls:\n  certificates:\n"


def test_an_entry_of_somebody_else_s_for_our_name_is_a_rival_with_its_line(place: _Place) -> None:
    """Ours is none; the certificate is named as well."""
    assert place.rivals() == []
    chain, key = place.pair()
    file = place.write("# by hand\n" + HEAD + _entry(chain, key))
    (fault,) = place.rivals()
    assert (fault.code, fault.file, fault.line) == ("deploy.rival_pair", str(file), 4)
    assert fault.text == f"- certFile: {chain}"
    assert fault.facts == {"target": place.target.name, "names": [NAME], "evidence": str(chain)}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", '[[tls.certificates]]\n  certFile = "{chain}"\n  keyFile = "{key}"\n', 2),
        ("below/tls.yaml", "TLS:\n  Certificates:\n  - {{keyFile: {key}, CertFile: {chain}}}\n", 3),
        ("certagent-older.yml", HEAD + "    - certFile: {chain}\n      keyFile: {key}\n", 3),
        ("b.yml", HEAD + "    - certFile: {chain}\n      keyFile: {key}\n      stores: [default, other]\n", 3),
        ("c.yml", HEAD + "    - keyFile: {key}\n      certFile: mine.crt\n", 4),
    ],
    ids=["TOML", "a folder below, in other case", "an older name of ours", "the default store too", "a relative path"],
)
def test_wherever_it_stands_it_is_one(place: _Place, name: str, text: str, line: int) -> None:
    """In any file that Traefik reads."""
    chain, key = place.pair()
    place.write(text.format(chain=chain, key=key), name)
    assert place.places() == [(name, line)]


def test_one_that_stands_in_the_file_itself_is_a_rival(place: _Place) -> None:
    """Traefik takes the content for the file."""
    pair = place.authority.issue(NAME)

    def indented(pem: bytes) -> str:
        return "|\n" + "".join(f"        {line}\n" for line in pem.decode().splitlines())

    place.write(f"{HEAD}    - certFile: {indented(pair.chain_pem)}      keyFile: {indented(pair.key_pem)}")
    (fault,) = place.rivals()
    assert (fault.line, fault.facts["evidence"]) == (3, None)


def test_two_of_them_in_one_file_are_one_fault_and_of_two_files_two(place: _Place) -> None:
    """What has to be changed is the file."""
    first, second = place.pair(), place.pair("Other.Internal", "second")
    place.write(HEAD + _entry(*first) + _entry(*second))
    place.write(HEAD + _entry(*second), "z.yml")
    faults = place.rivals()
    assert place.places() == [("tls.yml", 3), ("z.yml", 3)]
    assert [fault.detail["lines"] for fault in faults] == [[3, 5], [3]]
    assert [fault.facts["names"] for fault in faults] == [["other.internal", NAME], ["other.internal"]]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "    - certFile: {other}\n      keyFile: {key}\n",
        HEAD + "    - certFile: {wild}\n      keyFile: {key}\n",
        HEAD + "    - certFile: {chain}\n      keyFile: /nowhere.key\n",
        HEAD + "    - certFile: /nowhere.crt\n      keyFile: {key}\n",
        HEAD + "    - certFile: {chain}\n      keyFile: {key}\n      stores: [other]\n",
        "tls:\n  stores:\n    default:\n      defaultCertificate:\n        certFile: {chain}\n        keyFile: {key}\n",
        "# tls:\n#   certificates:\n#   - certFile: {chain}\n",
        HEAD + "    - certFile: {key}\n      keyFile: {key}\n",
        "tls: {{certificates: 7}}\n",
        "tls: [\n",
    ],
    ids=["another name", "a wildcard", "no key", "no certificate", "another store", "the default certificate",
         "a comment", "no certificate in it", "no list", "broken"],
)  # fmt: skip
def test_what_traefik_would_not_take_for_our_name_is_none(place: _Place, text: str) -> None:
    """An exact name comes before a wildcard, and any before the default certificate."""
    chain, key = place.pair()
    other, _ = place.pair("else.internal", "other")
    wild, _ = place.pair("*.internal", "wild")
    place.write(text.format(chain=chain, key=key, other=other, wild=wild))
    assert place.rivals() == []


def test_a_folder_that_no_known_traefik_reads_is_read_all_the_same(place: _Place) -> None:
    """One in a container of its own, say."""
    chain, key = place.pair()
    place.write(HEAD + _entry(chain, key))
    for static in ("providers: {file: {directory: /somewhere/else}}\n", None):
        if static is None:
            place.static.unlink()
        else:
            place.static.write_text(static)
        place.reader = TraefikReader((place.static,))
        assert place.places() == [("tls.yml", 3)]


def test_a_rival_is_over_once_its_entry_is_removed(place: _Place) -> None:
    """As the fix says; and one that comes is seen, by file and by its certificate alone."""
    chain, key = place.pair("else.internal")
    file = place.write(HEAD + _entry(chain, key))
    assert place.rivals() == []
    place.pair()
    assert place.places() == [("tls.yml", 3)]
    file.write_text("http: {}\n")
    assert place.rivals() == []


def test_another_certificate_of_ours_may_have_a_pair_of_its_earlier_names(place: _Place) -> None:
    """A name that goes from one section to another is renewed in both; one that stands in both is a mistake."""
    chain, key = place.pair()
    place.write(HEAD + _entry(chain, key), "certagent-second.yml")
    place.beside = [CertificateSection(name="second", identifiers=("else.internal",), deploy=(place.settings,))]
    assert place.rivals() == []
    place.beside = [CertificateSection(name="second", identifiers=("else.internal", NAME), deploy=(place.settings,))]
    assert place.places() == [("certagent-second.yml", 3)]
    place.beside = []
    assert place.places() == [("certagent-second.yml", 3)]


async def test_it_is_found_before_anything_is_ordered(place: _Place, tmp_path: Path) -> None:
    """What the preflight asks for; and a deployment that came to nothing names it first."""
    place.authority.write_root(tmp_path / "root.crt")
    context = make_context(tmp_path, place.section)
    service = DeploymentService(context, Prover(tmp_path / "root.crt", context.clock))
    assert await service.find_faults(place.section) == []
    chain, key = place.pair()
    file = place.write(HEAD + _entry(chain, key))
    assert [(one.code, one.file) for one in await service.find_faults(place.section)] == [
        ("deploy.rival_pair", str(file))
    ]
    wrong = place.authority.issue("else.internal").generation()
    (deployment,) = await service.deploy(place.section, wrong)
    assert deployment.faults[0].code == "deploy.rival_pair"

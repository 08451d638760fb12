"""`certagent init --authority` and `--collector`: files that the loaders take, from whatever the CA's ca.json holds."""

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from certagent.commands import init as agent_init
from certagent.commands import init_authority, init_collector
from certagent.commands.new_files import ExistsError
from certagent.config import (
    ChannelSection,
    CollectorSettings,
    HeartbeatSection,
    ServerSection,
    SourcesSection,
    StoreSection,
    load_agent,
    load_collector,
)
from certagent.system.procfs import ProcFs
from certagent.vantage import ca_facts, nginx_pairs, traefik_config
from certagent.vantage.ca_facts import read_ca_facts
from tests.certificates import Authority

DIRECTORY = "https://ca.fleet.example:9000/acme/acme/directory"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container with neither nginx nor Traefik, and no CA that could be asked."""
    nothing = tmp_path / "nothing"
    monkeypatch.setattr(agent_init, "find_nginx", lambda: nginx_pairs.find_nginx(nothing))
    monkeypatch.setattr(agent_init, "find_traefik", lambda: traefik_config.find_traefik((nothing,)))

    async def no_answer(_: str) -> list[bytes]:
        raise ConnectionError("the CA is not asked here")

    monkeypatch.setattr(agent_init, "fetch_roots", no_answer)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The CA's root certificate, where the CA has it."""
    Authority().write_root(tmp_path / "ca-root.crt")
    return tmp_path / "ca-root.crt"


def nobody(_: str) -> bool:
    """Who is never asked."""
    raise AssertionError("nobody is to be asked")


def ca_json(folder: Path, **more: Any) -> Path:
    """A ca.json as `step ca init` writes it, with these entries in place of its own."""
    document: dict[str, Any] = {
        "root": str(folder / "ca-root.crt"),
        "crt": "/etc/step-ca/certs/intermediate_ca.crt",
        "key": "/etc/step-ca/secrets/intermediate_ca_key",
        "address": ":9000",
        "dnsNames": ["ca.fleet.example", "10.0.0.10"],
        "authority": {"provisioners": [{"type": "JWK", "name": "admin"}, {"type": "ACME", "name": "acme"}]},
    }
    (folder / "ca.json").write_text(json.dumps(document | more))
    return folder / "ca.json"


def authority(folder: Path, **more: Any) -> dict[str, Any]:
    """What `certagent init --authority --write` comes to."""
    request = init_authority.AuthorityRequest(
        root=folder / "root.crt", configuration=folder / "agent.toml", ca_file=folder / "ca.json", **more
    )
    return init_authority.init(request, nobody, write=True)


def test_the_agent_beside_the_ca_is_set_up_from_its_ca_json(tmp_path: Path, root: Path) -> None:
    """Directory, root, zones and what may be rehearsed; the role; and the next command for the other nodes."""
    ca_json(tmp_path)
    document = authority(tmp_path)
    settings = load_agent(tmp_path / "agent.toml")
    assert settings.authority.directory == DIRECTORY
    assert settings.authority.addresses == agent_init.node_addresses()
    assert (settings.agent.role, settings.dns.zones) == ("authority", ("fleet.example",))
    assert settings.vantage is not None
    assert settings.vantage.allow == ("*.fleet.example",)
    assert (tmp_path / "root.crt").read_bytes() == root.read_bytes()
    fingerprint = x509.load_pem_x509_certificate(root.read_bytes()).fingerprint(hashes.SHA256()).hex()
    assert document["next"][-1].endswith(f"certagent init --directory {DIRECTORY} --fingerprint {fingerprint}")


def test_nothing_is_overwritten(tmp_path: Path, root: Path) -> None:
    """Neither the configuration, nor another root, which is told."""
    ca_json(tmp_path)
    Authority().write_root(tmp_path / "root.crt")
    before = (tmp_path / "root.crt").read_bytes()
    document = authority(tmp_path)
    assert (tmp_path / "root.crt").read_bytes() == before
    assert f"{tmp_path}/root.crt contains a root other than the CA's current one" in " ".join(document["by_hand"])
    (tmp_path / "agent.toml").write_text("mine")
    with pytest.raises(ExistsError, match=r"agent\.toml exists"):
        authority(tmp_path)
    assert (tmp_path / "agent.toml").read_text() == "mine"


def test_of_several_provisioners_the_first_is_taken_and_another_one_can_be(tmp_path: Path, root: Path) -> None:
    """What was not taken is said; one that is not there is refused, unless the CA keeps them in its database."""
    several = [{"type": "ACME", "name": "acme"}, {"type": "ACME", "name": "short lived"}]
    ca_json(tmp_path, authority={"provisioners": several})
    document = authority(tmp_path)
    assert "the provisioner acme was chosen; for another one (short lived): --provisioner NAME" in document["by_hand"]
    (tmp_path / "agent.toml").unlink()
    authority(tmp_path, provisioner="short lived")
    wanted = "https://ca.fleet.example:9000/acme/short%20lived/directory"
    assert load_agent(tmp_path / "agent.toml").authority.directory == wanted
    with pytest.raises(ValueError, match="no ACME provisioner 'other'; it has acme, short lived"):
        authority(tmp_path, provisioner="other")
    ca_json(tmp_path, authority={"enableAdmin": True})
    with pytest.raises(ValueError, match="keeps them in the CA's database"):
        authority(tmp_path)


def test_the_policys_names_may_be_rehearsed_too(tmp_path: Path, root: Path) -> None:
    """Its wildcards are zones; its single names are allowed alone."""
    policy = {"x509": {"allow": {"dns": ["*.phoenix.example", "www.other.example", 7, "{{x}}"]}}}
    ca_json(tmp_path, authority={"provisioners": [{"type": "ACME", "name": "acme"}], "policy": policy})
    authority(tmp_path)
    settings = load_agent(tmp_path / "agent.toml")
    assert settings.vantage is not None
    assert settings.dns.zones == ("fleet.example", "phoenix.example")
    assert settings.vantage.allow == ("*.fleet.example", "*.phoenix.example", "www.other.example")


BROKEN = {
    "empty": b"",
    "half": b'{"dnsNames": ["ca.fleet.exa',
    "list": b"[]",
    "number": b"1" * 5000,
    "bytes": b'{"dnsNames": ["\xff\xfe"]}',
    "deep": b"[" * 100_000,
    "not JSON": b"dnsNames: [ca]",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_ca_json_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """With the file; nothing is written."""
    (tmp_path / "ca.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}/ca\.json cannot be used: ."):
        authority(tmp_path)
    assert not (tmp_path / "agent.toml").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_holds_nobody_up(tmp_path: Path, make: Any) -> None:
    """Nor is it a traceback."""
    make(tmp_path / "ca.json")
    with pytest.raises(ValueError, match="cannot be used: it is a "):
        authority(tmp_path)


ODD: list[dict[str, Any]] = [
    {"dnsNames": "ca.fleet.example"},
    {"dnsNames": [None, 7, [], {}]},
    {"dnsNames": ["{{ ca }}", "a\nb", "*.fleet.example", 'x"', "\ud800"]},
    {"authority": None},
    {"authority": {"provisioners": {"type": "ACME"}}},
    {"authority": {"provisioners": [None, 7, {"type": "ACME"}, {"type": "ACME", "name": "a\ud800"}]}},
    {"authority": {"provisioners": [{"type": ["ACME"], "name": "x"}, {"type": "ACME", "name": "a\nb"}]}},
]


@pytest.mark.parametrize("more", ODD, ids=ascii)
def test_what_does_not_say_enough_is_one_sentence(tmp_path: Path, root: Path, more: dict[str, Any]) -> None:
    """What is missing, and how to say it instead."""
    ca_json(tmp_path, **more)
    with pytest.raises(ValueError, match=r"give --directory|no ACME provisioner is in"):
        authority(tmp_path)
    document = authority(tmp_path, directory=DIRECTORY)
    assert load_agent(tmp_path / "agent.toml").authority.directory == DIRECTORY
    assert document["changes"][0]["done"]


@pytest.mark.parametrize("address", [7, None, [], "x", ":0", ":99999", ":٣", [":9000x"], {}], ids=ascii)
def test_a_port_that_is_none_is_https_own(tmp_path: Path, root: Path, address: Any) -> None:
    reading = read_ca_facts(ca_json(tmp_path, address=address))
    assert reading.value is not None
    assert reading.value.port == 443
    assert reading.value.directory("acme") == "https://ca.fleet.example/acme/acme/directory"


def test_a_ca_with_addresses_alone_is_reached_by_one(tmp_path: Path, root: Path) -> None:
    """An IPv6 address in brackets."""
    reading = read_ca_facts(ca_json(tmp_path, dnsNames=["fd00::10"], address=["0.0.0.0:8443"]))
    assert reading.value is not None
    assert reading.value.directory("acme") == "https://[fd00::10]:8443/acme/acme/directory"
    assert reading.value.zones() == ()


@pytest.mark.parametrize(
    "said", ["secret", "relative/root.crt", "/nowhere/root.crt", 7, ["/dev/zero", "\0"]], ids=ascii
)
def test_only_certificates_are_taken_from_the_root_files(tmp_path: Path, root: Path, said: Any) -> None:
    """Of a key beside the certificate, or in its place, nothing is copied."""
    key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    (tmp_path / "secret").write_text(key)
    (tmp_path / "both").write_text(key + root.read_text())
    ca_json(tmp_path, root=str(tmp_path / "secret") if said == "secret" else said)
    document = authority(tmp_path)
    assert not (tmp_path / "root.crt").exists()
    assert "c2VjcmV0" not in json.dumps(document)
    (tmp_path / "agent.toml").unlink()
    ca_json(tmp_path, root=[str(tmp_path / "both")])
    authority(tmp_path)
    assert (tmp_path / "root.crt").read_bytes() == root.read_bytes()


def test_the_running_cas_file_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the usual places."""
    monkeypatch.setattr(ca_facts, "PLACES", (tmp_path / "none", tmp_path / "ca.json"))
    assert ca_facts.find_ca_file(ProcFs(tmp_path)) is None
    (tmp_path / "ca.json").touch()
    assert ca_facts.find_ca_file(ProcFs(tmp_path)) == tmp_path / "ca.json"


def collector(folder: Path, *, write: bool = True, **more: Any) -> dict[str, Any]:
    """What `certagent init --collector` comes to."""
    request = init_collector.CollectorRequest(
        configuration=folder / "collector.toml", root=folder / "ca-root.crt", **more
    )
    return init_collector.init(request, nobody, write=write)


def test_the_collector_and_the_agent_beside_it_are_set_up(tmp_path: Path, root: Path) -> None:
    """Both files are what their programs load; the agent deploys what the collector serves."""
    document = collector(tmp_path, url="https://collector.fleet.example:8843", directory=DIRECTORY)
    served, agent = load_collector(tmp_path / "collector.toml"), load_agent(tmp_path / "agent.toml", with_secrets=False)
    assert (served.server.listen, served.url) == ("0.0.0.0:8843", "https://collector.fleet.example:8843")
    (certificate,) = agent.certificate
    assert certificate.identifiers == ("collector.fleet.example",)
    assert certificate.deploy[0].certificate == served.server.certificate  # type: ignore[union-attr]
    assert agent.collector is not None
    assert agent.collector.url == served.url
    assert (agent.agent.role, agent.agent.state) == ("collector", Path("/var/lib/certagent/agent"))
    assert [Path(one["file"]).name for one in document["changes"]] == ["collector.toml", "agent.toml"]
    assert document["next"][1].endswith(" | certagent join")


def test_without_a_ca_only_the_collectors_own_file_is_made_and_the_rest_later(tmp_path: Path, root: Path) -> None:
    """A second run makes what is missing, and a third one has nothing to do."""
    first = collector(tmp_path, url="https://collector.fleet.example:8843")
    assert "--directory URL" in first["by_hand"][-1]
    (tmp_path / "collector.toml").write_text("mine")
    second = collector(tmp_path, url="https://collector.fleet.example:8843", directory=DIRECTORY)
    assert [one["done"] for one in second["changes"]] == [False, True]
    assert (tmp_path / "collector.toml").read_text() == "mine"
    with pytest.raises(ExistsError):
        collector(tmp_path, url="https://collector.fleet.example:8843", directory=DIRECTORY)


NO_URL = "http://c.example:1 https:// c.example:8843 https://c.example:x https://[::1 https://u:p@c.example:1 "
NO_URL += "https://c.example:1/path https://*.example:1 https://{{host}}:8843"


@pytest.mark.parametrize("url", [*NO_URL.split(), "https://a b:1"])
def test_what_cannot_be_the_collectors_address_is_refused(tmp_path: Path, url: str) -> None:
    """In one sentence, and nothing is written."""
    with pytest.raises(ValueError, match=r"^--url: "):
        collector(tmp_path, url=url)
    assert list(tmp_path.iterdir()) == []


def test_the_collectors_file_shows_every_key_that_there_is(tmp_path: Path, root: Path) -> None:
    """As a comment where it is not needed; taken as they stand, the loader knows them all."""
    text = collector(tmp_path, url="https://c.fleet.example:8843", write=False)["configuration"]
    file = tmp_path / "whole.toml"
    lines = (re.sub(r"^# (?=\[|[a-z_]+ = )", "", line) for line in text.splitlines())
    whole = "\n".join(lines)
    for place, value in (("/etc/certagent/root_ca.crt", root), ("/etc/certagent/policy.toml", tmp_path / "policy")):
        whole = whole.replace(place, str(value))
    (tmp_path / "policy").touch()
    (tmp_path / "webhook").write_text("secret")
    (tmp_path / "webhook").chmod(0o600)
    file.write_text(whole.replace("/etc/certagent/webhook", str(tmp_path / "webhook")))
    load_collector(file)
    for section in (CollectorSettings, ServerSection, StoreSection, ChannelSection, HeartbeatSection, SourcesSection):
        for key in msgspec.structs.fields(section):
            assert re.search(rf"(?m)^(# )?(\[\[?{key.name}\]|{key.name} = )", text), f"{section.__name__}.{key.name}"

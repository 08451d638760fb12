"""How a CA was set up: its ca.json and its unit, read below /proc/PID/root, with lines and without secrets."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.domain.rehearsals import Provisioner
from certagent.system.procfs import Process, ProcFs
from certagent.vantage.ca_process import read_provisioner, read_unit

PID = 7
CONFIGURATION = {
    "dnsNames": ["ca.lan.test"],
    "key": "/secret",
    "password": "very secret",
    "authority": {
        "policy": {"x509": {"allow": {"dns": ["*.lan.test"]}, "deny": {"dns": ["bad.lan.test"]}}},
        "provisioners": [
            {"type": "JWK", "name": "acme", "encryptedKey": "secret"},
            {"type": "ACME", "name": "acme", "challenges": ["dns-01"], "requireEAB": True},
        ],
    },
}


def _process(started_at: datetime, *arguments: str) -> Process:
    return Process(PID, "step-ca", ("/usr/bin/step-ca", *arguments), started_at)


def _root(tmp_path: Path) -> Path:
    root = tmp_path / str(PID) / "root"
    (root / "etc").mkdir(parents=True, exist_ok=True)
    return root


def _read(tmp_path: Path, configuration: object, name: str = "acme", age: float = 60) -> Provisioner | None:
    (_root(tmp_path) / "etc" / "ca.json").write_text(json.dumps(configuration, indent=2))
    started_at = datetime.now(UTC) + timedelta(seconds=age)
    return read_provisioner(ProcFs(tmp_path), _process(started_at, "/etc/ca.json"), name)


def test_it_reads_what_decides_on_orders_and_nothing_else(tmp_path: Path) -> None:
    """The provisioner of that name and kind, and the authority's policy; no key, no password."""
    found = _read(tmp_path, CONFIGURATION)
    assert found is not None
    assert (found.challenges, found.requires_eab) == (("dns-01",), True)
    assert (found.allowed, found.denied, found.names) == (("*.lan.test",), ("bad.lan.test",), ("ca.lan.test",))
    assert found.is_loaded
    assert "secret" not in repr(found)
    lines = (_root(tmp_path) / "etc" / "ca.json").read_text().splitlines()
    assert '"allow"' in lines[found.lines["allow"] - 1]
    assert '"challenges"' in lines[found.lines["challenges"] - 1]


def test_a_provisioner_of_another_name_is_missing(tmp_path: Path) -> None:
    """The directory's address ends in a name that nobody has."""
    found = _read(tmp_path, CONFIGURATION, name="fleet")
    assert found is not None
    assert not found.exists


def test_provisioners_in_a_database_are_not_known(tmp_path: Path) -> None:
    """With the administration on, the file does not have them."""
    assert _read(tmp_path, {"authority": {"enableAdmin": True}}) is None


def test_a_file_that_changed_after_the_start_is_not_loaded(tmp_path: Path) -> None:
    """The process goes by what it read then."""
    found = _read(tmp_path, CONFIGURATION, age=-60)
    assert found is not None
    assert not found.is_loaded


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\x00"])
def test_what_is_no_configuration_says_nothing(tmp_path: Path, content: bytes) -> None:
    """Nothing is raised, nothing claimed."""
    (_root(tmp_path) / "etc" / "ca.json").write_bytes(content)
    assert read_provisioner(ProcFs(tmp_path), _process(datetime.now(UTC), "/etc/ca.json"), "acme") is None
    assert read_provisioner(ProcFs(tmp_path), _process(datetime.now(UTC), "ca.json"), "acme") is None


def test_a_units_line_is_found_and_its_password_is_not(tmp_path: Path) -> None:
    """The drop-in counts, a comment does not; of an URL no credentials are kept."""
    root = _root(tmp_path)
    (tmp_path / str(PID) / "cgroup").write_text("0::/system.slice/step-ca.service\n")
    unit = root / "etc/systemd/system"
    (unit / "step-ca.service.d").mkdir(parents=True)
    (unit / "step-ca.service").write_text("[Service]\nExecStart=/usr/bin/step-ca --acme-http-port 81 /etc/ca.json\n")
    drop_in = unit / "step-ca.service.d" / "proxy.conf"
    drop_in.write_text(
        "[Service]\n# Environment=HTTP_PROXY=http://old\nEnvironment=HTTP_PROXY=http://me:pw@10.0.0.5:3128\n"
    )
    process = _process(datetime.now(UTC), "/etc/ca.json")
    found = dict(read_unit(ProcFs(tmp_path), process, ("--acme-http-port", "HTTP_PROXY=", "--resolver")))
    assert (found["--acme-http-port"].file, found["--acme-http-port"].line) == (
        "/etc/systemd/system/step-ca.service",
        2,
    )
    assert (found["HTTP_PROXY="].line, found["HTTP_PROXY="].text) == (3, "Environment=HTTP_PROXY=http://10.0.0.5:3128")
    assert "--resolver" not in found
    drop_in.write_text('[Service]\nEnvironment="HTTPS_PROXY=me:pw@10.0.0.5:3128"\n')
    (found_line,) = dict(read_unit(ProcFs(tmp_path), process, ("HTTPS_PROXY=",))).values()
    assert found_line.text == 'Environment="HTTPS_PROXY=10.0.0.5:3128"'
    (tmp_path / str(PID) / "cgroup").write_text("0::/user.slice\n")
    assert read_unit(ProcFs(tmp_path), process, ("--acme-http-port",)) == ()

"""How a CA was set up: its ca.json and its unit, read below /proc/PID/root, with lines and without secrets."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certagent.domain.observations import Unreadable
from certagent.domain.rehearsals import Provisioner
from certagent.system.procfs import Process, ProcFs
from certagent.vantage.ca_config import read_provisioner
from certagent.vantage.ca_process import read_unit
from certagent.vantage.foreign_files import Reading

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
    reading = read_provisioner(ProcFs(tmp_path), _process(started_at, "/etc/ca.json"), name)
    assert reading.unreadable == ()
    return reading.value


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


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "Expecting value"),
        (b"\n[1]", 1, "it is not a table"),
        (b'{"dnsNames": [],\n"authority": {\n', 3, "Expecting property name enclosed in double quotes"),
        (b"{\n\xff\x00", 2, "it is not UTF-8 text"),
        (b"[" * 100_000, None, "it is nested too deeply"),
    ],
)
def test_what_is_no_configuration_says_nothing(tmp_path: Path, content: bytes, line: int | None, reason: str) -> None:
    """Nothing is raised, nothing claimed; the line is noted, by the path that the CA knows."""
    (_root(tmp_path) / "etc" / "ca.json").write_bytes(content)
    process = _process(datetime.now(UTC), "/etc/ca.json")
    noted = Unreadable(file="/etc/ca.json", line=line, reason=reason)
    assert read_provisioner(ProcFs(tmp_path), process, "acme") == Reading(None, (noted,))
    assert read_provisioner(ProcFs(tmp_path), _process(datetime.now(UTC), "ca.json"), "acme") == Reading(None)


def test_something_else_in_the_place_of_a_file_is_noted(tmp_path: Path) -> None:
    """A pipe is waited for no longer than a file; a unit that is a folder leaves its drop-in to be read. A file that is
    not there is nothing to say."""
    root = _root(tmp_path)
    process = _process(datetime.now(UTC), "/etc/ca.json")
    assert read_provisioner(ProcFs(tmp_path), process, "acme") == Reading(None)
    os.mkfifo(root / "etc/ca.json")
    noted = Unreadable(file="/etc/ca.json", reason="it is a named pipe")
    assert read_provisioner(ProcFs(tmp_path), process, "acme") == Reading(None, (noted,))
    (tmp_path / str(PID) / "cgroup").write_text("0::/system.slice/step-ca.service\n")
    folder = root / "etc/systemd/system/step-ca.service.d"
    folder.mkdir(parents=True)
    (folder / "a.conf").mkdir()
    (folder / "b.conf").write_text("[Service]\nEnvironment=HTTP_PROXY=http://10.0.0.5:3128\n")
    reading = read_unit(ProcFs(tmp_path), process, ("HTTP_PROXY=",))
    assert [origin.line for _, origin in reading.value] == [2]
    file = "/etc/systemd/system/step-ca.service.d/a.conf"
    assert reading.unreadable == (Unreadable(file=file, reason="it is a folder"),)


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
    found = dict(read_unit(ProcFs(tmp_path), process, ("--acme-http-port", "HTTP_PROXY=", "--resolver")).value)
    assert (found["--acme-http-port"].file, found["--acme-http-port"].line) == (
        "/etc/systemd/system/step-ca.service",
        2,
    )
    assert (found["HTTP_PROXY="].line, found["HTTP_PROXY="].text) == (3, "Environment=HTTP_PROXY=http://10.0.0.5:3128")
    assert "--resolver" not in found
    drop_in.write_text('[Service]\nEnvironment="HTTPS_PROXY=me:pw@10.0.0.5:3128"\n')
    (found_line,) = dict(read_unit(ProcFs(tmp_path), process, ("HTTPS_PROXY=",)).value).values()
    assert found_line.text == 'Environment="HTTPS_PROXY=10.0.0.5:3128"'
    (tmp_path / str(PID) / "cgroup").write_text("0::/user.slice\n")
    assert read_unit(ProcFs(tmp_path), process, ("--acme-http-port",)) == Reading(())

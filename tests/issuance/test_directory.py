"""Can the CA be used from here? Every way in which it cannot has its own word."""

import socket
from pathlib import Path

from certagent.issuance.directory import check_directory
from tests.certificates import Authority as PrivateAuthority
from tests.fakes.tls_servers import tls_server
from tests.issuance.conftest import StepCa
from tests.ports import free_port


async def test_a_good_directory_has_no_error(step_ca: StepCa) -> None:
    """By name; an address that the name leads to is not looked at twice."""
    checks = await check_directory(step_ca.directory, step_ca.root, ("127.0.0.1",))
    assert [check.error for check in checks if check.address == "127.0.0.1"] == [None]
    assert [check.status for check in checks if check.address == "127.0.0.1"] == [200]
    assert not any(check.by_address for check in checks)


async def test_a_name_without_address_leaves_the_configured_one(step_ca: StepCa) -> None:
    """By name first in the result, whatever came of it."""
    directory = step_ca.directory.replace("localhost", "ca.invalid")
    by_name, by_address = await check_directory(directory, step_ca.root, ("127.0.0.1",))
    assert (by_name.error, by_name.address, by_name.by_address) == ("unresolved", None, False)
    assert (by_address.error, by_address.by_address) == ("name_mismatch", True)
    assert by_name.url == by_address.url == directory


async def test_nobody_listens(step_ca: StepCa) -> None:
    """Refused is not silence."""
    directory = step_ca.directory.replace(str(step_ca.port), str(free_port()))
    checks = await check_directory(directory, step_ca.root, ())
    assert {check.error for check in checks} == {"refused"}
    assert "ECONNREFUSED" in checks[0].detail


async def test_silence_is_bounded(step_ca: StepCa) -> None:
    """A listener whose backlog nobody empties shakes no hands."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        directory = f"https://127.0.0.1:{silent.getsockname()[1]}/directory"
        checks = await check_directory(directory, step_ca.root, (), timeout=0.2)
    assert [check.error for check in checks] == ["timeout"]


async def test_another_root_is_named_and_never_believed(step_ca: StepCa, tmp_path: Path) -> None:
    """Whatever its subject says."""
    PrivateAuthority("Step Test Root").write_root(tmp_path / "root.crt")
    checks = await check_directory(step_ca.directory, tmp_path / "root.crt", ())
    assert {check.error for check in checks if check.address == "127.0.0.1"} == {"root_changed"}


async def test_a_wrong_path_is_not_a_directory(step_ca: StepCa) -> None:
    """The provisioner has another name."""
    checks = await check_directory(step_ca.directory.replace("acme/acme", "acme/other"), step_ca.root, ())
    assert {(check.error, check.status) for check in checks if check.address == "127.0.0.1"} == {("http_status", 404)}


async def test_a_box_that_speaks_tls_but_no_http(tmp_path: Path) -> None:
    """It hangs up after the handshake."""
    private = PrivateAuthority()
    private.write_root(tmp_path / "root.crt")
    async with tls_server(private.issue("localhost", "127.0.0.1")) as server:
        checks = await check_directory(f"https://{server.endpoint}/acme", tmp_path / "root.crt", ())
    assert [check.error for check in checks] == ["http_status"]

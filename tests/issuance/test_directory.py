"""Can the CA be used from here? Every way in which it cannot has its own word."""

import socket
from collections.abc import Callable
from pathlib import Path

from certagent.issuance.directory import check_directory, fingerprints_of_files, is_step_ca, published_roots
from tests.certificates import Authority as PrivateAuthority
from tests.fakes.tls_servers import tls_server
from tests.issuance.conftest import Pebble, StepCa
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


async def test_the_ca_says_which_roots_it_has(step_ca: StepCa, tmp_path: Path) -> None:
    """To whoever trusts one of them; to nobody else."""
    roots = await published_roots(step_ca.directory, step_ca.root, ())
    assert roots == set(fingerprints_of_files(step_ca.root))
    assert len(roots) == 1
    stranger = PrivateAuthority().write_root(tmp_path / "root.crt")
    assert await published_roots(step_ca.directory, stranger, ()) == set()


async def test_either_of_two_roots_will_do(step_ca: StepCa, tmp_path: Path) -> None:
    """In two files, or in one; where neither is the CA's, both are named."""
    other, another = (PrivateAuthority(name).write_root(tmp_path / f"{name}.crt") for name in ("other", "another"))
    both = tmp_path / "both.crt"
    both.write_bytes(other.read_bytes() + step_ca.root.read_bytes())
    for roots in ((other, step_ca.root), (step_ca.root, other), both):
        (check, *_) = await check_directory(step_ca.directory, roots, ())
        assert check.error is None
    checks = await check_directory(step_ca.directory, (other, another), ())
    (changed,) = [check for check in checks if check.address == "127.0.0.1"]
    assert changed.error == "root_changed"
    assert all(pinned in changed.detail for pinned in fingerprints_of_files((other, another)))


async def test_another_ca_is_told_from_step_ca(step_ca: StepCa, start_pebble: Callable[..., Pebble]) -> None:
    """Both answer; who gives no answer is neither."""
    pebble = start_pebble()
    assert await is_step_ca(step_ca.directory, step_ca.root, ()) is True
    assert await is_step_ca(pebble.directory, pebble.root, ()) is False
    assert await is_step_ca(step_ca.directory.replace("localhost", "ca.invalid"), step_ca.root, ()) is None
    assert await is_step_ca(step_ca.directory, pebble.root, ()) is None
    nobody = step_ca.directory.replace(str(step_ca.port), str(free_port()))
    assert await is_step_ca(nobody, step_ca.root, ()) is None

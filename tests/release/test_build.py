"""What deploy/release/build makes: pinned, checked, signed when there is a key, and the same bytes each time."""

import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.lab.places import TREE
from deploy.release import checksums, debian_package, elf_files, pinned_wheels, sbom
from deploy.release.debian_package import Package
from deploy.release.pinned_wheels import EXTRAS, Wheel
from deploy.release.revision import Failed, Revision
from deploy.release.targets import TARGETS
from tests.release.packages import build_package

DEBIAN_12, DEBIAN_13 = TARGETS["debian-12-amd64"], TARGETS["debian-13-amd64"]
ARM = TARGETS["debian-13-arm64"]
RELEASE = Revision("0.2.0", 1790000000, "0" * 40, "v0.2.0")


@pytest.mark.parametrize("name", TARGETS)
def test_every_requirement_is_pinned_for_every_target(name: str) -> None:
    """By a version that pyproject.toml admits, and a hash; nothing of the index that it came from."""
    text = TARGETS[name].lock(TREE).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "://" not in text
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    pinned = {line.partition("==")[0].replace("_", "-"): line.split("==")[1].split()[0] for line in lines}
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(pinned[requirement.name.lower().replace("_", "-")]), requirement


def test_the_targets_differ_in_their_files_alone() -> None:
    """The same versions everywhere: what is tested on one is what runs on the others."""
    versions = {name: re.findall(r"^\S+==\S+", target.lock(TREE).read_text(), re.M) for name, target in TARGETS.items()}
    assert len({tuple(found) for found in versions.values()}) == 1


def _wheel(folder: Path, files: dict[str, bytes], name: str = "thing") -> Wheel:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: MIT\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        for place, content in {f"{name}-1.0.dist-info/METADATA": metadata, **files}.items():
            archive.writestr(place, content)
    return Wheel(path, checksums.sha256_of(path), pinned_wheels.metadata_of(path))


def test_of_a_wheel_only_what_is_imported_is_unpacked(tmp_path: Path) -> None:
    """No programs, which would have some Python's path in them."""
    files = {
        "thing/__init__.py": b"",
        "thing-1.0.data/purelib/other.py": b"",
        "thing-1.0.data/scripts/thing": b"#!python",
        "thing-1.0.data/headers/thing.h": b"",
    }
    pinned_wheels.unpack([_wheel(tmp_path, files).path], tmp_path / "site")
    found = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert found == {"thing/__init__.py", "other.py", "thing-1.0.dist-info/METADATA"}


def test_two_wheels_with_one_file_are_not_laid_over_each_other(tmp_path: Path) -> None:
    """Which one counted would be chance."""
    wheel = _wheel(tmp_path, {"thing/__init__.py": b""})
    with pytest.raises(FileExistsError):
        pinned_wheels.unpack([wheel.path, wheel.path], tmp_path / "site")


def _elf(machine: int) -> bytes:
    """A header of 64 bits and nothing else."""
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    return identity + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0)


def test_native_code_of_another_machine_is_refused(tmp_path: Path) -> None:
    """By what the file itself says, whatever the wheel is called."""
    (tmp_path / "fine.so").write_bytes(_elf(183))
    assert elf_files.check(tmp_path, ARM) == set()
    (tmp_path / "other.so").write_bytes(_elf(62))
    with pytest.raises(Failed, match=r"debian-13-arm64: other\.so is for EM_X86_64"):
        elf_files.check(tmp_path, ARM)


def test_native_code_of_a_newer_libc_is_refused(tmp_path: Path) -> None:
    """This machine's Python needs some glibc; a Debian of long ago has none of that."""
    import _ctypes

    native = Path(_ctypes.__file__)
    (tmp_path / native.name).write_bytes(native.read_bytes())
    (tmp_path / "libffi.so.8").write_bytes(_elf(62))  # as a wheel that brings it along
    assert "libc6" in elf_files.check(tmp_path, DEBIAN_13)
    old = type(DEBIAN_12)(6, "3.11", "2.2", "amd64", "x86_64")
    with pytest.raises(Failed, match=r"needs glibc 2\."):
        elf_files.check(tmp_path, old)


def test_the_sbom_names_every_wheel_with_its_hash(tmp_path: Path) -> None:
    """As CycloneDX; twice the same."""
    certagent, wheel = _wheel(tmp_path, {}, "certagent"), _wheel(tmp_path, {})
    library = tmp_path / "thing.libs" / "libpq.so.5"
    library.parent.mkdir()
    library.write_bytes(_elf(62))
    text = sbom.make(RELEASE, DEBIAN_12, certagent, [wheel], [library])
    assert text == sbom.make(RELEASE, DEBIAN_12, certagent, [wheel], [library])
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "2026-09-21T14:13:20+00:00"
    (component,) = document["components"]
    assert component["purl"] == "pkg:pypi/thing@1.0"
    assert component["hashes"] == [{"alg": "SHA-256", "content": wheel.sha256}]
    assert component["licenses"] == [{"license": {"id": "MIT"}}]
    assert [part["name"] for part in component["components"]] == ["libpq.so.5"]


def test_the_checksums_are_signed_and_the_signature_verifies(tmp_path: Path) -> None:
    """With what docs/release.md says to a person who has downloaded them; not when a file was exchanged."""
    key, folder = tmp_path / "key", tmp_path / "dist"
    folder.mkdir()
    (folder / "certagent.whl").write_text("a wheel")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    listed = checksums.write(folder)
    signature = checksums.sign(listed, key)
    subprocess.run(["sha256sum", "--check", "--strict", listed.name], cwd=folder, check=True, capture_output=True)
    signers = tmp_path / "signers"
    signers.write_text(f"release@certagent {(tmp_path / 'key.pub').read_text()}")
    words = ["-f", str(signers), "-I", "release@certagent", "-n", checksums.NAMESPACE, "-s", str(signature)]
    verify = ["ssh-keygen", "-Y", "verify", *words]
    assert subprocess.run(verify, input=listed.read_bytes(), capture_output=True, check=False).returncode == 0
    assert subprocess.run(verify, input=b"other sums", capture_output=True, check=False).returncode != 0
    assert checksums.write(folder).read_text().count("\n") == 1, "the signature is not in the list"


def test_a_key_that_does_not_sign_is_said(tmp_path: Path) -> None:
    """Nothing is left that looks signed."""
    (tmp_path / "SHA256SUMS").write_text("")
    with pytest.raises(Failed, match="could not be signed"):
        checksums.sign(tmp_path / "SHA256SUMS", tmp_path / "none")
    assert not (tmp_path / "SHA256SUMS.sig").exists()


def test_a_bundle_is_the_same_each_time_and_the_installer_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the umask and the hour."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    import offline
    from transport import Facts

    from deploy.release import offline_bundle

    wheel = _wheel(tmp_path, {"thing/__init__.py": b"", "thing/part/data.txt": b"x"})
    made = []
    for mask, name in ((0o022, "one"), (0o077, "two")):
        before = os.umask(mask)
        (tmp_path / name).mkdir()
        file = tmp_path / f"{name}.tar.gz"
        offline_bundle.make(file, wheel, {DEBIAN_12: [wheel], DEBIAN_13: [wheel]}, tmp_path / name)
        made.append(file.read_bytes())
        os.umask(before)
    assert made[0] == made[1]
    layers, is_compiled = offline.find(tmp_path / "one.tar.gz", Facts.of("3.13", "x86_64", "2.41"))
    assert not is_compiled
    with tarfile.open(layers[0]) as layer:
        assert f"layers/{layers[0].name}/thing/part/data.txt" in layer.getnames()


def test_a_package_is_the_same_bytes_twice(tmp_path: Path) -> None:
    """With this tree's programs, units, manual pages and scripts, and of the wheels one small file."""
    made = []
    for mask, name in ((0o022, "one"), (0o077, "two")):
        site = tmp_path / name / "root" / debian_package.SITE
        database = site / "certagent/collector/sql/database.py"
        before = os.umask(mask)
        try:
            database.parent.mkdir(parents=True)
            database.write_text('REVISION = "0010"\n')
            (site / "native.so").write_bytes(_elf(183))
            package = Package(RELEASE, ARM, TREE, tmp_path / name / "root").build(tmp_path / name, "{}")
        finally:
            os.umask(before)
        assert package.name == "certagent_0.2.0-1~deb13u1_arm64.deb"
        made.append(package)
    assert made[0].read_bytes() == made[1].read_bytes()
    _check_files(made[0])


@pytest.mark.parametrize("name", ["preinst", "postinst", "prerm", "postrm", "prepare-collector"])
def test_the_packages_scripts_are_sound_shell(name: str) -> None:
    """For dash, and they stop at the first failure."""
    script = TREE / "deploy" / "release" / "debian" / name
    subprocess.run(["dash", "-n", script], check=True)
    assert re.search(r"^set -eu?$", script.read_text(), re.MULTILINE)


def _build(into: Path, *words: str) -> str:
    """What was said."""
    environment = {"PYTHONPATH": str(TREE), "TMPDIR": str(into.parent)}
    command = [sys.executable, "-P", "-m", "deploy.release", "--into", str(into), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_folder_with_something_else_in_it_is_not_emptied(tmp_path: Path) -> None:
    """Somebody's home, say."""
    (tmp_path / "letter").touch()
    with pytest.raises(Failed, match=r"holds other files \(letter\): choose an empty folder"):
        build_package("debian-13-amd64", "0.2.0", tmp_path)
    assert (tmp_path / "letter").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_release_is_the_same_bytes_twice(tmp_path: Path) -> None:
    """Every file, built in two folders under two umasks; and it says that nothing was signed."""

    sums = []
    for mask, name in ((0o022, "one"), (0o077, "another-folder")):
        (tmp_path / name).mkdir()
        before = os.umask(mask)
        try:
            told = _build(tmp_path / name / "dist", "--only", "debian-13-arm64")
        finally:
            os.umask(before)
        assert "SHA256SUMS is not signed: no --sign-key" in told
        assert "debian-13-arm64 was assembled and its files' architecture checked; it was not run" in told
        sums.append((tmp_path / name / "dist" / "SHA256SUMS").read_text())
    assert sums[0] == sums[1]
    kinds = [name.rpartition("  ")[2] for name in sums[0].splitlines()]
    for ending in (".whl", ".tar.gz", "_arm64.deb", "-offline-arm64.tar.gz", "-debian-13-arm64.cdx.json"):
        assert any(name.endswith(ending) for name in kinds), ending
    _check_files(next((tmp_path / "one" / "dist").glob("*.deb")))


def _check_files(package: Path) -> None:
    """Modes and owners are what Debian wants; manual pages, completions and units are where they belong."""
    packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = {member.name.removeprefix("./"): member for member in archive}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert {member.mode for member in members.values()} == {0o755, 0o644}
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in members)
    assert {
        "etc/certagent",
        "usr/bin/certagent",
        "usr/lib/systemd/system/certagent-agent.service",
        "usr/lib/systemd/system/certagent-collector.service",
        "usr/share/man/man1/certagent.1.gz",
        "usr/share/man/man1/certagent-init.1.gz",
        "usr/share/bash-completion/completions/certagent",
        "usr/share/zsh/vendor-completions/_certagent",
        "usr/share/fish/vendor_completions.d/certagent.fish",
        "usr/share/doc/certagent/copyright",
        "usr/share/doc/certagent/sbom.cdx.json.gz",
    } <= set(members)


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("target", TARGETS)
def test_lintian_has_nothing_against_the_package(tmp_path: Path, target: str) -> None:
    """No error and no warning; what is overridden has its reason in deploy/release/debian/lintian-overrides."""
    package = build_package(target, "0.2.0", tmp_path / "dist")
    done = subprocess.run(["lintian", "--allow-root", package], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_every_override_has_a_reason() -> None:
    """In the line before it."""
    lines = (TREE / "deploy/release/debian/lintian-overrides").read_text().splitlines()
    overrides = [number for number, line in enumerate(lines) if not line.startswith("#")]
    assert overrides
    assert all(lines[number - 1].startswith("# ") for number in overrides)

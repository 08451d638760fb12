"""A live pair, looked at: whatever somebody has put in its place, nobody waits for it."""

import os
from pathlib import Path

import pytest

from certagent.deployers.pair_inspection import inspect_pair
from tests.certificates import Authority


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _make_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_make_pipe, _make_zeros, Path.mkdir, Path.touch])
def test_what_is_no_certificate_has_no_facts(tmp_path: Path, make: object) -> None:
    """A pipe, a device, a folder, an empty file."""
    assert callable(make)
    certificate, key = tmp_path / "web.crt", tmp_path / "web.key"
    make(certificate)
    key.write_bytes(Authority().issue("web.home.test").key_pem)
    live = inspect_pair(certificate, certificate, key)
    assert (live.file, live.facts, live.key_fits) == (str(certificate), None, True)


def test_what_is_no_key_does_not_fit(tmp_path: Path) -> None:
    """Beside a good certificate."""
    certificate, key = tmp_path / "web.crt", tmp_path / "web.key"
    pair = Authority().issue("web.home.test")
    certificate.write_bytes(pair.chain_pem)
    os.mkfifo(key)
    live = inspect_pair(certificate, certificate, key)
    assert live.facts is not None
    assert (live.facts.identifiers, live.key_fits) == (("web.home.test",), False)

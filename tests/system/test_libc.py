"""Which libc this is: asked, not guessed."""

import os
from pathlib import Path

from certagent.system.libc import UNKNOWN, name_libc


def test_the_running_libc_names_itself() -> None:
    """Here it is glibc, with the version that it says."""
    assert name_libc() == os.confstr("CS_GNU_LIBC_VERSION")


def test_musl_is_named_by_its_loader(tmp_path: Path) -> None:
    """musl's loader is its libc; without arguments it prints its version and fails."""
    loader = tmp_path / "ld-musl-x86_64.so.1"
    loader.write_text(
        "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.5\\nDynamic Program Loader\\n' >&2\nexit 1\n"
    )
    loader.chmod(0o755)
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 08:01 12 {loader}\n")
    assert name_libc(maps) == "musl 1.2.5"
    loader.unlink()
    assert name_libc(maps) == "musl"


def test_no_maps_are_no_trouble(tmp_path: Path) -> None:
    """Where /proc is not to be read, glibc is still asked."""
    assert name_libc(tmp_path / "maps") in (os.confstr("CS_GNU_LIBC_VERSION"), UNKNOWN)

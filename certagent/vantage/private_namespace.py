"""What this node's own libc would answer with other files in place: asked in a private mount namespace.

The live files are neither written nor moved. The namespace, with every mount in it, ends with the process inside it.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from certagent.domain.rehearsals import LibcAnswer
from certagent.system import libc_in_namespace
from certagent.system.processes import Finished, run

ASKING_SECONDS = 20.0  # libc waits for silent nameservers: 5 s, twice, for each


class NoNamespaceError(Exception):
    """This container does not permit a private mount namespace; the message is what the attempt reported."""


class _Answer(msgspec.Struct):
    addresses: tuple[str, ...]
    error: str | None


async def ask_libc_under(proposed: Mapping[str, bytes], name: str) -> LibcAnswer:
    """Return libc's answer with `proposed` (absolute path -> content) in place of the live files.

    Raises `NoNamespaceError`.
    """
    with tempfile.TemporaryDirectory(prefix="certagent-whatif-") as folder:
        pairs = await asyncio.to_thread(_lay_out, Path(folder), proposed)
        return _read(name, await _run(name, pairs))


def _lay_out(folder: Path, proposed: Mapping[str, bytes]) -> list[str]:
    """Write the proposed files into a folder, and return each as SOURCE=TARGET."""
    pairs = []
    for number, (path, content) in enumerate(proposed.items()):
        source = folder / str(number)
        source.write_bytes(content)
        source.chmod(0o644)
        pairs.append(f"{source}={path}")
    return pairs


async def _run(name: str, pairs: list[str]) -> Finished:
    program = [sys.executable, "-I", libc_in_namespace.__file__, os.readlink("/proc/self/ns/mnt"), name, *pairs]
    try:
        return await run(["unshare", "--mount", "--propagation", "private", *program], timeout=ASKING_SECONDS)
    except OSError as error:
        raise NoNamespaceError(f"unshare cannot be run: {error.strerror}") from error


def _read(name: str, finished: Finished) -> LibcAnswer:
    if finished.status is None:
        return LibcAnswer(name, error="timeout")
    if not finished.is_good:
        raise NoNamespaceError(finished.output.splitlines()[-1] if finished.output else "unshare failed")
    answer = msgspec.json.decode(finished.output.splitlines()[-1], type=_Answer)
    return LibcAnswer(name, answer.addresses, answer.error)

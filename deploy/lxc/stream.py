"""What is sent into a container: one tar stream of small files, and of the layers that it lacks."""

import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def write(
    target: IO[bytes], files: Mapping[str, tuple[Path, int]], layers: Sequence[Path], present: frozenset[str]
) -> None:
    """Write the stream and rewind it; `files` maps names to a path and a mode, `layers` are tar files.

    Several archives after each other: tar reads them as one when it is told to ignore the zeros between them.
    """
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, (path, mode) in files.items():
            content = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    for layer in layers:
        if layer.name not in present:
            with layer.open("rb") as file:
                shutil.copyfileobj(file, target, 1 << 20)
    target.flush()
    target.seek(0)

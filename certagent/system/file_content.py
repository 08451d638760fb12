"""What a file is to be: content, mode and owner; and the whole content of one that is open, to read or to write."""

import os
import sys

import msgspec

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_PIECE = 64 * 1024


class Owner(msgspec.Struct, frozen=True):
    """Whom a file is to belong to, by number."""

    uid: int
    gid: int


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is to be. `owner` None: whoever this process is."""

    content: bytes
    mode: int = PRIVATE_FILE
    owner: Owner | None = None


def read_all(descriptor: int, most: int = sys.maxsize) -> bytes:
    """What is left of an open file, at most so many bytes; without the system calls of a file object."""
    pieces, left = [], most
    while left > 0 and (piece := os.read(descriptor, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def write_all(descriptor: int, content: bytes) -> None:
    """All of it, at where an open file is."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]

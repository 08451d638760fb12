"""What a file is to be: content, mode and owner. Values only."""

import msgspec

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


class Owner(msgspec.Struct, frozen=True):
    """Whom a file is to belong to, by number."""

    uid: int
    gid: int


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is to be. `owner` None: whoever this process is."""

    content: bytes
    mode: int = PRIVATE_FILE
    owner: Owner | None = None

"""The refusal to write where another client's certificates live: it renews them, and overwrites ours."""

import errno
from pathlib import Path

from certagent.system.client_folders import ClientFolder, find_client


class ForeignFolderError(OSError):
    """A target's file belongs to another client; `owner` and `evidence` say which, and what shows it."""

    def __init__(self, file: Path, client: ClientFolder) -> None:
        super().__init__(errno.EPERM, f"{client.owner} keeps its certificates there", str(file))
        self.owner = client.owner
        self.evidence = client.evidence


def require_no_client(*files: Path) -> None:
    """Raise `ForeignFolderError` for a file in another client's live folder, links followed. Blocks."""
    for file in files:
        client = find_client(file)
        if client is not None:
            raise ForeignFolderError(file, client)

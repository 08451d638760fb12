"""The rights of another user, for a while: what root does in that user's folders, the user could have done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from certagent.system.file_content import Owner


@contextmanager
def rights_of(owner: Owner | None) -> Iterator[None]:
    """Open and make files as that user and in that group alone, in every thread; None: as who this process is.

    Only root can. What is open already stays open.
    """
    if owner is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.gid)
    os.seteuid(owner.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def other_owner(file: Path) -> Owner | None:
    """Whose the file is, a link as a link, or else its folder; if this is root, and they are not root's own."""
    if os.geteuid() != 0:
        return None
    for path in (file, file.parent):
        with suppress(OSError):
            status = path.lstat()
            if status.st_uid != 0:
                return Owner(status.st_uid, status.st_gid)
    return None

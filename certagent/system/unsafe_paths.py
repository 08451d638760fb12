"""Whom a path can be trusted to: who may change a folder, and so where a path through it leads. Reads nothing."""

import errno
import os
import pwd
import stat
from enum import StrEnum
from pathlib import Path

import msgspec

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class ChangeableFolder(msgspec.Struct, frozen=True):
    """A folder that others than root and this process's user can change. `mode`: as chmod has it."""

    path: Path
    uid: int
    mode: int

    @property
    def owner(self) -> str:
        """By name, where it has one."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def is_owners_alone(self) -> bool:
        """Neither its group nor everybody can write it."""
        return not self.mode & _WRITABLE_BY_OTHERS


class Danger(StrEnum):
    """What there is in a folder that others can change; the value is the finding's variant."""

    LINK = "link"
    SECOND_NAME = "second_name"
    EXCHANGED = "exchanged"
    STRANGERS = "strangers"
    NOT_PRIVATE = "not_private"


_SENTENCES = {
    Danger.LINK: "it is a link",
    Danger.SECOND_NAME: "the file has a second name elsewhere",
    Danger.EXCHANGED: "it was replaced while it was being created",
    Danger.STRANGERS: "another user created it",
    Danger.NOT_PRIVATE: "it must be private",
}


class UnsafePathError(OSError):
    """A path that others can lead elsewhere: what lies there, and the first folder that they can change."""

    def __init__(self, path: Path, danger: Danger, folder: ChangeableFolder) -> None:
        where = f"{folder.path} can be changed by users other than root (owner {folder.owner}, mode {folder.mode:04o})"
        super().__init__(errno.EPERM, f"{_SENTENCES[danger]}, and {where}", str(path))
        self.danger = danger
        self.folder = folder


class PathTrust(msgspec.Struct, frozen=True):
    """What can be said of a folder that was reached from / without following anybody else's link.

    `changeable`: the first folder on the way, itself included, that others can change; None: nobody else decides on
    what is found there. `above`: the same for the folders that it contains; in a sticky folder (/tmp), nobody else can
    exchange those that are ours.
    """

    changeable: ChangeableFolder | None = None
    above: ChangeableFolder | None = None

    def keeps(self, uid: int) -> bool:
        """Whether nobody else can exchange what that user has in the folder."""
        return self.changeable is None or (self.above is None and uid in (0, os.geteuid()))

    def of_folder(self, path: Path, status: os.stat_result) -> "PathTrust":
        """Of a folder in this one."""
        if is_roots_alone(status):
            return ROOTS_ALONE if self.above is None else PathTrust(self.above, self.above)
        is_ours = status.st_uid in (0, os.geteuid())
        found = self.above or ChangeableFolder(path, status.st_uid, stat.S_IMODE(status.st_mode))
        is_sticky = is_ours and bool(status.st_mode & stat.S_ISVTX)
        return PathTrust(found, self.above if is_sticky else found)


ROOTS_ALONE = PathTrust()
"""Of a folder that nobody else can change, all the way down from /."""


def is_roots_alone(status: os.stat_result) -> bool:
    """Whether nobody but root and this process's user can write that folder, whatever leads to it."""
    return not status.st_mode & _WRITABLE_BY_OTHERS and (status.st_uid == 0 or status.st_uid == os.geteuid())

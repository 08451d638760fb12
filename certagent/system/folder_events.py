"""Events of folders: one inotify instance and one thread for everybody in this process who watches some.

It is watchdog's lower layer, without its emitters: those take a thread for every folder. Nothing is queued here, the
kernel's own bounded queue is all there is; when that overflows, everybody is told to look at everything. Says that
something happened, not what.
"""

import threading
from collections.abc import Callable, Set
from pathlib import Path
from typing import ClassVar

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

# Opens and reads are left out: a node that resolves names all day must not wake the agent.
_MASK = Mask(
    InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_CLOSE_WRITE  # all that tells of what was written through a mapping
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
)
_PAUSE_SECONDS = 0.02  # between two reads: what repeats itself meanwhile, the kernel folds into one event


class FolderWatch(WatchCallback):
    """One folder under watch: calls `on_change`, in the thread of the events, with the one of `names` in it that may
    have changed, or None where any of them may, or the folder itself. `names` None: whatever happens in it."""

    def __init__(self, on_change: Callable[[str | None], object], names: Set[str] | None) -> None:
        self.names = names
        self._on_change = on_change
        self._descriptor: WatchDescriptor | None = None

    def open(self, folder: Path) -> None:
        """Begin. Raises OSError: FileNotFoundError or NotADirectoryError where the folder has gone."""
        with _Reader.in_use:
            self._descriptor = _Reader.running().add_callback(bytes(folder), _MASK, self, CallbackId(id(self)))

    def close(self) -> None:
        """End it. An event that is being handled may still come."""
        with _Reader.in_use:
            if self._descriptor is not None:
                _Reader.running().remove_callbacks([(self._descriptor, CallbackId(id(self)))])
                self._descriptor = None

    def on_event(self, event: InotifyEvent) -> None:
        """Pass it on if its name counts."""
        name = event.name.decode(errors="surrogateescape") if event.name else None
        if self.names is None or name is None or name in self.names:
            self._on_change(name)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The folder was removed, or its file system unmounted."""
        self._on_change(None)

    def on_queue_overflow(self) -> None:
        """Events were lost: any of them may have counted."""
        self._on_change(None)


class _Reader(InotifyFD):
    """This process's instance and its thread, begun by the first folder and never ended."""

    in_use: ClassVar[threading.Lock] = threading.Lock()
    _started: ClassVar["_Reader | None"] = None

    @classmethod
    def running(cls) -> "_Reader":
        """The one of this process. Raises OSError where there are no more instances to be had."""
        if cls._started is None:
            reader = cls()
            reader.name = "folder-events"
            reader.start()
            cls._started = reader
        return cls._started

    def run(self) -> None:
        """As watchdog does, with a pause after each read."""
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)
            self.stopped_event.wait(_PAUSE_SECONDS)

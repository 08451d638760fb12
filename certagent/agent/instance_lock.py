"""One agent per state folder, and per socket: a second one ends before it has written anything."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from certagent.config import AgentSection
from certagent.system.files import LockedError, lock_file, make_folder


@contextmanager
def hold_instance_lock(section: AgentSection) -> Iterator[None]:
    """Hold both until the end, or until this process ends, however it does. Blocks. Raises `LockedError` with a
    sentence when another agent holds one of them."""
    with ExitStack() as held:
        with suppress(OSError):  # a folder that cannot be made is told by whoever writes there
            make_folder(section.state)
        with suppress(OSError):
            section.socket.parent.mkdir(parents=True, exist_ok=True)
        for path, what in (
            (section.state / "lock", f"the state folder {section.state}"),
            (Path(f"{section.socket}.lock"), f"the socket {section.socket}"),
        ):
            try:
                with suppress(OSError):  # nor can anybody else lock it then
                    held.enter_context(lock_file(path, f"{section.name}, process {os.getpid()}"))
            except LockedError as error:
                raise LockedError(f"an agent runs already with {what}: {error}") from error
        yield

"""`certagent agent`: run this container's agent until it is told to stop, in as little memory as it takes."""

import gc
from pathlib import Path

from certagent.commands import UnableError
from certagent.system.files import LockedError
from certagent.system.malloc import give_back, keep_large_apart, share_one_arena
from certagent.system.tls import without_system_trust


def run_agent(path: Path) -> None:
    """Returns after SIGTERM or SIGINT. Raises `ConfigurationError`, and `UnableError` beside another agent."""
    share_one_arena()
    keep_large_apart()
    with without_system_trust():
        from certagent.agent.app import main
    gc.collect()
    gc.freeze()  # the modules stay
    give_back()
    try:
        main(path)
    except LockedError as error:
        raise UnableError(str(error)) from error

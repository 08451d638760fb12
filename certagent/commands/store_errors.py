"""The collector's database as the commands on its node meet it: what is wrong with it is one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from certagent.collector.records import StoreFailed
from certagent.commands import UnableError


@contextmanager
def store_within_reach() -> Iterator[None]:
    """Turns `StoreFailed` into `UnableError`: the program says so and ends with status 1."""
    try:
        yield
    except StoreFailed as error:
        raise UnableError(str(error)) from error

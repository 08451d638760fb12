"""The collector's database as the commands on its node meet it: what is wrong with it is one sentence, and root opens
it with no more rights than its owner has."""

from collections.abc import Iterator
from contextlib import contextmanager

from certagent.collector.records import StoreFailed, StoreUnusable
from certagent.commands import UnableError
from certagent.config.store_url import file_of
from certagent.system.rights import other_owner, rights_of


@contextmanager
def store_within_reach() -> Iterator[None]:
    """Turns `StoreFailed` into `UnableError`: the program says so and ends with status 1; with 2, after which systemd
    does not start it again, when the database cannot be used at all."""
    try:
        yield
    except StoreFailed as error:
        raise UnableError(str(error), is_lasting=isinstance(error, StoreUnusable)) from error


@contextmanager
def store_of_owner(url: str) -> Iterator[None]:
    """The same, for root with the rights of the user whose database it is: no link of that user leads it elsewhere."""
    file = file_of(url)
    with store_within_reach(), rights_of(other_owner(file) if file is not None else None):
        yield

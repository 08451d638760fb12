"""glibc's memory, kept small. Another libc is left alone."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
_LARGE = 128 * 1024


def keep_large_apart() -> None:
    """What is larger than 128 KiB is mapped by itself, and gone once it is free (mallopt(3)). By default glibc moves
    that border up as soon as one is freed; uvloop has 256 KiB for each TLS connection, of which a page or two are used.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def share_one_arena() -> None:
    """All threads take from one heap (mallopt(3)): by default each keeps one of its own, most of it free."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Free pages go to the kernel, those between used ones, too (malloc_trim(3))."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)

"""`certagent` with a tree's folders over this machine's, in namespaces of its own: `ROOT ADDRESS,... WORD...`, run by
`tests.warm`.

What `unshare --map-root-user --mount --net` and `mount --rbind` do, in the process itself.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from certagent import cli

_NEW_MOUNTS, _NEW_USERS, _NEW_NETWORK = 0x20000, 0x10000000, 0x40000000  # sched.h
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000  # sys/mount.h
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Enter, then the command."""
    root, addresses, *words = sys.argv[1:]
    enter(Path(root))
    for address in filter(None, addresses.split(",")):
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    sys.argv[1:] = words
    cli.main()


def enter(root: Path) -> None:
    """This process, which has one thread, is root of its own namespaces; the folders of `root` lie over `/`'s. Raises
    OSError where the machine has no user namespaces."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_USERS | _NEW_MOUNTS | _NEW_NETWORK), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _mount("none", "/", _RECURSIVE | _PRIVATE)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        Path("/", folder.name).mkdir(exist_ok=True)
        _mount(str(folder), f"/{folder.name}", _BIND | _RECURSIVE)
    _bring_loopback_up()


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None), f"mount {target}")


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _GET_FLAGS, request))[1]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")

"""Who runs this process: the user that it runs as, and whoever logged in to become that user."""

import os
import pwd
from pathlib import Path

_LOGIN_UID = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN = 2**32 - 1


def invoking_user() -> str:
    """`root`; `root (logged in as ada)` where a login, which sudo and su keep, was another's."""
    user, login = _name(os.geteuid()), _login_uid()
    return user if login is None or login == os.geteuid() else f"{user} (logged in as {_name(login)})"


def _login_uid() -> int | None:
    """What PAM noted at the login (proc(5)); None for a service, and where nothing is noted."""
    try:
        uid = int(_LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _NOBODY_LOGGED_IN else uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

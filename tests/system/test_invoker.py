"""Who runs a command: the user, and who logged in to become that user."""

import os
import pwd
from pathlib import Path

import pytest

from certagent.system import invoker


@pytest.mark.parametrize(
    ("login_uid", "expected"),
    [
        (None, "{me}"),
        ("4294967295", "{me}"),
        ("nonsense", "{me}"),
        (str(os.geteuid()), "{me}"),
        ("1", "{me} (logged in as daemon)"),
        ("77777", "{me} (logged in as uid 77777)"),
    ],
)
def test_it_names_who_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login_uid: str | None, expected: str
) -> None:
    """Where a login is noted, and is another's."""
    noted = tmp_path / "loginuid"
    if login_uid is not None:
        noted.write_text(login_uid)
    monkeypatch.setattr(invoker, "_LOGIN_UID", noted)
    assert invoker.invoking_user() == expected.format(me=pwd.getpwuid(os.geteuid()).pw_name)

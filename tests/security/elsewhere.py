"""What lies outside of an attacker's folder: root's own, and to be found exactly as it was, unread."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER = 33  # www-data; whoever owns the folder that is attacked
READ_AT, CHANGED_AT = 1_000_000_000, 1_100_000_000
SECRET = b"root's own\n"


class Elsewhere:
    """A folder of root's with all that an agent might be led to: a secret, generations, challenges, a pair."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        for name in ("secret", "token", "web.key", "web.crt", "certagent-web.yml", "hosts"):
            self._add(name)
        for number in ("0", "1", "7", "8", ".9.new"):
            self._add(f"{number}/privkey.pem")
            self._add(f"{number}/fullchain.pem")
        self._add("acme-challenge/token")
        self._add(".well-known/acme-challenge/token")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
            os.utime(path, (READ_AT, CHANGED_AT))
        self._before = self._look()

    def assert_untouched(self) -> None:
        """Nothing of it was changed, removed, added or read."""
        found = self._look()
        assert [name for name in found if found[name] != self._before.get(name)] == []
        assert found.keys() == self._before.keys()

    def _add(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET)

    def _look(self) -> dict[str, tuple[float, ...]]:
        """Of each file also when it was read; of a folder this look itself is what reads it."""
        found: dict[str, tuple[float, ...]] = {}
        for path in (self.folder, *self.folder.rglob("*")):
            is_file = path.is_file()
            one = path.lstat()
            numbers = (one.st_mode, one.st_uid, one.st_gid, one.st_ino, one.st_size, one.st_mtime)
            found[str(path)] = (*numbers, one.st_atime if is_file else 0)
        return found


@contextmanager
def owned_folder(uid: int = OWNER, mode: int = 0o755) -> Iterator[tuple[Path, Elsewhere]]:
    """(a folder that belongs to another user, what lies outside of it), both in one of root's that everybody can
    pass."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o711)
        (Path(above) / "elsewhere").mkdir()
        elsewhere = Elsewhere(Path(above) / "elsewhere")
        folder = Path(above) / "owned"
        folder.mkdir()
        folder.chmod(mode)
        os.chown(folder, uid, uid)
        yield folder, elsewhere

"""[store] url: what it may be, each mistake in one sentence, and never with the password."""

from pathlib import Path

import pytest

from certagent.config import ConfigurationError, load_collector
from certagent.config.store_url import database_name, file_of, is_postgresql, server_options

SEVERAL = "postgresql://u:s3cr3t@{servers}/db?target_session_attrs=read-write"
NOT_READ = (
    "is not a URL that libpq can read (postgresql://USER@HOST:PORT,HOST:PORT/NAME?target_session_attrs=read-write)"
)
WANTED = "any, prefer-standby, primary, read-only, read-write, standby"


def load(tmp_path: Path, url: str) -> str:
    """The URL as loaded."""
    path = tmp_path / "collector.toml"
    path.write_text(f'[server]\nlisten = "127.0.0.1:8843"\n[store]\nurl = "{url}"\n')
    return load_collector(path).store.url


@pytest.mark.parametrize(
    ("servers", "host", "port"),
    [
        ("h1:5432,h2:5433", "h1,h2", "5432,5433"),
        ("h1:5432,h2", "h1,h2", "5432,"),
        ("h1,h2:5433", "h1,h2", ",5433"),
        ("10.0.0.1:5432,10.0.0.2:5432,10.0.0.3:5432", "10.0.0.1,10.0.0.2,10.0.0.3", "5432,5432,5432"),
        ("[fd00::1]:5432,[fd00::2]:5433", "fd00::1,fd00::2", "5432,5433"),
        ("h1,[fd00::2]:5433", "h1,fd00::2", ",5433"),
    ],
)
def test_a_url_of_several_servers(tmp_path: Path, servers: str, host: str, port: str) -> None:
    """As libpq reads it."""
    url = load(tmp_path, SEVERAL.format(servers=servers))
    options = server_options(url)
    assert (options["host"], options["port"]) == (host, port)
    assert (options["user"], options["password"], options["dbname"]) == ("u", "s3cr3t", "db")
    assert options["target_session_attrs"] == "read-write"
    assert is_postgresql(url)
    assert file_of(url) is None
    assert database_name(url) == "db"


def test_the_urls_of_one_server_are_read_as_before(tmp_path: Path) -> None:
    """Sockets, files of passwords, and passwords that libpq would want quoted."""
    for url, expected in (
        ("postgresql://u@h/db?passfile=/etc/x", {"user": "u", "host": "h", "dbname": "db", "passfile": "/etc/x"}),
        (
            "postgresql://u:a/b,c@h:1/db",
            {"user": "u", "password": "a/b,c", "host": "h", "port": 1, "dbname": "db"},
        ),
        ("postgresql://u@/db?host=/run/pg", {"user": "u", "host": "/run/pg", "dbname": "db"}),
        ("postgresql:///db", {"dbname": "db"}),
    ):
        assert server_options(load(tmp_path, url)) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql:/s3cr3t", NOT_READ),
        ("postgresql://u:s3cr3t@h:port/db", NOT_READ),
        ("postgresql://u:s3cr3t@h1:1,h2:2/db?target_sesion_attrs=any", NOT_READ),
        ("postgresql://u:s3cr3t@[fd00::1:5432,h2/db", NOT_READ),
        ("postgresql://u:s3cr3t@h/db?target_sesion_attrs=any", "libpq has no option 'target_sesion_attrs'"),
        (
            "postgresql://u:s3cr3t@h1,h2/db?target_session_attrs=writable",
            f"target_session_attrs: 'writable' is not one of {WANTED}",
        ),
        ("postgresql://u:s3cr3t@h1:5432,h2:0/db", "'0' is not a port"),
        ("postgresql://u:s3cr3t@h1:5432,h2:five/db", "'five' is not a port"),
        ("postgresql://u:s3cr3t@h1,h2/db?port=1,2,3", "names 2 hosts and 3 ports"),
        ("sqlite:/s3cr3t.db", "is not a URL of a file (sqlite:////PATH)"),
        ("sqlite://s3cr3t/collector.db", "names a host, not a file (write sqlite:////PATH)"),
    ],
)
def test_a_mistake_is_one_sentence_without_the_password(tmp_path: Path, url: str, said: str) -> None:
    """With its line and key."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, url)
    assert (caught.value.message, caught.value.line) == (f"store.url: {said}", 4)
    assert "s3cr3t" not in str(caught.value)

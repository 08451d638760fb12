"""What HAProxy's configuration says of certificates, as its own documentation has the syntax (section 2.2, 5.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certagent.domain.observations import Place
from certagent.domain.web_servers.haproxy import find_binds, loads, split_line

TEXT = """\
# bind *:1 ssl crt /no
global
  crt-base /etc/haproxy/certs   # where they are
  bind *:2 ssl crt /no
frontend web
  bind *:80
  bind *:443,[::]:443 ssl crt site.pem crt "/etc/ssl/two words.pem" alpn h2,http/1.1
  bind :8443 accept-proxy ssl crt /etc/haproxy/more/
listen stats
    bind 10.0.0.3:9000 ssl crt-list /etc/haproxy/list.txt
backend app
  server one 10.0.0.9:443 ssl crt /etc/haproxy/client.pem
  bind *:3 ssl crt /no
"""


def test_each_listener_with_certificates_is_found() -> None:
    """With its line; a backend's own certificate is a client's."""
    web, proxied, stats = find_binds([("/etc/haproxy/haproxy.cfg", TEXT)])
    assert web.place == Place(
        file="/etc/haproxy/haproxy.cfg",
        line=7,
        text='bind *:443,[::]:443 ssl crt site.pem crt "/etc/ssl/two words.pem" alpn h2,http/1.1',
    )
    assert web.addresses == ("*:443", "[::]:443")
    assert web.crt == ("/etc/haproxy/certs/site.pem", "/etc/ssl/two words.pem")
    assert (proxied.crt, proxied.is_proxied, web.is_proxied) == (("/etc/haproxy/more/",), True, False)
    assert (stats.crt, stats.lists) == ((), ("/etc/haproxy/list.txt",))


def test_a_file_is_loaded_by_its_name_or_by_its_folder() -> None:
    """What a list names is not known from here."""
    web, proxied, stats = find_binds([("haproxy.cfg", TEXT)])
    assert loads([web], "/etc/haproxy/certs/site.pem")
    assert not loads([web, proxied], "/etc/haproxy/certs/other.pem")
    assert loads([proxied], "/etc/haproxy/more/other.pem")
    assert loads([stats], "/etc/haproxy/certs/other.pem")


def test_a_base_holds_for_the_files_that_follow() -> None:
    """HAProxy reads several files as one."""
    files = [("1", "global\n crt-base /a\n"), ("2", "frontend f\n bind :1 ssl crt b.pem\n")]
    (bind,) = find_binds(files)
    assert (bind.place.file, bind.crt) == ("2", ("/a/b.pem",))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bind *:443 # ssl", ["bind", "*:443"]),
        (r"bind a\ b\#c", ["bind", "a b#c"]),
        ('bind "a \\"b\\"" \'c "d"\'', ["bind", 'a "b"', 'c "d"']),
        ('bind pre"fix ed"', ["bind", "prefix ed"]),
        ('bind "never ends', ["bind"]),
        ("", []),
    ],
)
def test_a_line_is_split_as_haproxy_does(line: str, words: list[str]) -> None:
    """Quotes, escapes, comments."""
    assert split_line(line) == words


@given(st.text())
def test_whatever_stands_there_it_is_read(text: str) -> None:
    """Or left out."""
    find_binds([("haproxy.cfg", f"global\n{text}\nfrontend f\n bind {text}")])

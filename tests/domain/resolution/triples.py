"""Made-up worlds for the differential test: hosts, resolv.conf, nsswitch.conf and a name. Same seed, same worlds."""

import random
from typing import NamedTuple

from tests.domain.resolution.nameservers import DEAD, LAME, MAIN, OTHER, REFUSING, SERVFAIL, SILENT, TRUNCATING


class Triple(NamedTuple):
    """One world. None is a file that is not there."""

    hosts: bytes | None
    resolv_conf: bytes | None
    nsswitch: bytes | None
    name: str

    def to_json(self) -> dict[str, str | None]:
        """Bytes as latin-1, so that every byte survives and most can be read."""
        return {
            key: value.decode("latin-1") if isinstance(value, bytes) else value
            for key, value in zip(self._fields, self, strict=True)
        }

    @classmethod
    def from_json(cls, document: dict[str, str | None]) -> "Triple":
        """The opposite."""
        texts = (document[key] for key in ("hosts", "resolv_conf", "nsswitch"))
        hosts, resolv_conf, nsswitch = (None if text is None else text.encode("latin-1") for text in texts)
        name = document["name"]
        assert name is not None
        return cls(hosts, resolv_conf, nsswitch, name)


NAMES = (
    "app.lan.test",
    "APP.Lan.Test",
    "app.lan.test.",
    "app",
    "App",
    "app.",
    "both.lan.test",
    "both",
    "six.lan.test",
    "alias.lan.test",
    "mixed.lan.test",
    "mapped.lan.test",
    "broken.lan.test",
    "single",
    "deep.app.lan.test",
    "no.such.test",
    "x.onion",
    "a_b.lan.test",
    "-x.lan.test",
    "x-.lan.test",
    "app..lan.test",
    "123",
    "12.34",
    "10.0.0.12",
    "010.0.0.12",
    "2001:DB8::1",
    "::ffff:10.0.0.1",
    "fe80::1%link0",
    "app.lan.test" + ".x" * 121,
    "l" * 64 + ".test",
    "k\u212aelvin.test",
    "app.lan.test..",
    ".",
)
ADDRESSES = (
    "10.0.0.153",
    "10.0.0.12",
    "127.0.0.1",
    "127.0.1.1",
    "0.0.0.0",  # noqa: S104 (a line of a hosts file)
    "2001:db8::153",
    "2001:DB8:0:0:0:0:0:1",
    "fd00:1::153",
    "fe80::1%link0",
    "fe80::1",
    "::1",
    "::ffff:10.0.0.77",
    "::10.0.0.1",
    "2002:a00:1::1",
    "010.0.0.1",
    "10.0.0",
    "10.0.0.256",
    "10.0.0.1%link0",
    "fe80::1%",
    "1::2::3",
    "app",
    "[::1]",
    "10.0.0.5/24",
    "\uff11.1.1.1",
)
SOURCES = ("files", "dns", "resolve", "mymachines", "myhostname", "mdns4_minimal", "FILES", "db", "nis")
CRITERIA = (
    "[NOTFOUND=return]",
    "[!UNAVAIL=return]",
    "[SUCCESS=continue NOTFOUND=return]",
    "[ ]",
    "[x]",
    "[a=b",
    "[!a=]",
)
OPTIONS = (
    "ndots:0",
    "ndots:1",
    "ndots:2",
    "ndots:5",
    "ndots:99",
    "ndots:-1",
    "ndots:x",
    "ndots:",
    "attempts:1",
    "attempts:0",
    "timeout:1",
    "single-request",
    "edns0",
    "trust-ad",
    "use-vc",
    "no-reload",
    "inet6",
    "unknown:3",
)
SUFFIXES = ("lan.test", "corp.test", "lan.test.", ".", "#", "LAN.test", "x..y", "z" * 64, "onion", "very.long" * 27)
BLANKS = (" ", "\t", "  ", " \t ", "\r", "\x0b", "\xa0")
ENDS = ("\n", "\n", "\n", "\r\n", "\n\n", " \n", "\x00\n", "#\n", " # note\n")


def generate(seed: int, count: int) -> list[Triple]:
    """`count` worlds; one in forty has a nameserver that never answers."""
    dice = random.Random(seed)  # noqa: S311 (a test's worlds, no secret)
    return [_triple(dice, has_silence=number % 40 == 39) for number in range(count)]


def _triple(dice: random.Random, has_silence: bool) -> Triple:
    name = dice.choice(NAMES[:12]) if dice.random() < 0.7 else dice.choice(NAMES)
    hosts = None if dice.random() < 0.04 else _hosts(dice, name)
    resolv_conf = _silent_resolv_conf(dice) if has_silence else _resolv_conf(dice)
    nsswitch = None if dice.random() < 0.15 else _nsswitch(dice)
    return Triple(hosts, resolv_conf, nsswitch, name)


def _hosts(dice: random.Random, name: str) -> bytes:
    lines = [_hosts_line(dice, name) for _ in range(dice.randrange(7))]
    raw = "".join(lines).encode("utf-8", "surrogateescape")
    if dice.random() < 0.06:
        raw = b"\xef\xbb\xbf" + raw
    if dice.random() < 0.04:
        raw = b"# " + b"-" * dice.choice((65532, 65533, 65534, 70000)) + b"\n" + raw
    if dice.random() < 0.1:
        raw = raw.rstrip(b"\n")
    return raw.replace(b"note", b"\xff\xfe") if dice.random() < 0.05 else raw


def _hosts_line(dice: random.Random, name: str) -> str:
    kind = dice.random()
    if kind < 0.08:
        return dice.choice(("# comment\n", "\n", " \n", "10.0.0.153\n", ":::\n", "\x00\n"))
    address = dice.choice(ADDRESSES[:9]) if kind < 0.7 else dice.choice(ADDRESSES)
    names = [_spelled(dice, name) if dice.random() < 0.6 else dice.choice(NAMES) for _ in range(dice.randint(1, 3))]
    blank = dice.choice(BLANKS[:4]) if dice.random() < 0.9 else dice.choice(BLANKS)
    start = dice.choice(("", "", "", "", " ", "\t", "#", "# "))
    return start + blank.join((address, *names)) + dice.choice(ENDS)


def _spelled(dice: random.Random, name: str) -> str:
    """The name itself, or one that looks like it."""
    ways = (name, name, name, name.upper(), name.removesuffix("."), name + ".", name + "x", name.split(".")[0])
    return dice.choice(ways) or "x"


def _resolv_conf(dice: random.Random) -> bytes | None:
    if dice.random() < 0.05:
        return None
    servers = dice.choices(
        (MAIN, OTHER, SERVFAIL, REFUSING, LAME, DEAD, TRUNCATING, "::1", "10.0.0.300", "ns.lan.test", "fe80::1%link9"),
        weights=(10, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1),
        k=dice.choices((0, 1, 2, 3, 4), weights=(1, 10, 5, 3, 2))[0],
    )
    lines = [dice.choice(("nameserver ", "nameserver\t", " nameserver ")) + server for server in servers]
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        suffixes = dice.choice(BLANKS[:4]).join(
            dice.choices(SUFFIXES, weights=(8, 5, 3, 1, 1, 1, 1, 1, 1, 1), k=dice.randrange(4))
        )
        lines.append(dice.choice(("search ", "search ", "domain ", "SEARCH ")) + suffixes)
    for _ in range(dice.choice((0, 0, 1, 2))):
        lines.append("options " + " ".join(dice.choices(OPTIONS, k=dice.randint(1, 3))))
    lines += dice.choices(
        ("# note", "; note", "sortlist x", "", "nameserver", "options rotate single-request"), k=dice.randrange(2)
    )
    dice.shuffle(lines)
    text = dice.choice(("\n", "\n", "\r\n", " # c\n")).join(lines)
    return text.encode() + dice.choice((b"\n", b"", b"\n\n"))


def _silent_resolv_conf(dice: random.Random) -> bytes:
    """One that never answers among others; short, because the real Go waits for it."""
    servers = [SILENT, *dice.sample((MAIN, DEAD, SERVFAIL), k=dice.randrange(2))]
    dice.shuffle(servers)
    lines = [f"nameserver {server}" for server in servers]
    return "\n".join([*lines, "search test", "options timeout:1 attempts:1", ""]).encode()


def _nsswitch(dice: random.Random) -> bytes:
    usual = (
        "hosts: files dns\n",
        "hosts: dns files\n",
        "hosts:\tfiles\n",
        "hosts: dns\n",
        "hosts:          files mymachines resolve [!UNAVAIL=return] dns myhostname\n",
        "hosts: files resolve\n",
        "hosts: mdns4_minimal [NOTFOUND=return] files\n",
        "hosts: files dns [!UNAVAIL=return] files\n",
        "passwd: files\n",
        "",
    )
    if dice.random() < 0.5:
        return ("passwd: compat\n" + dice.choice(usual)).encode()
    words = []
    for _ in range(dice.randrange(5)):
        words.append(dice.choice(SOURCES[:2]) if dice.random() < 0.6 else dice.choice(SOURCES))
        if dice.random() < 0.3:
            words.append(dice.choice(CRITERIA[:3]) if dice.random() < 0.7 else dice.choice(CRITERIA))
    text = dice.choice(("hosts:", "hosts :", "Hosts:", " hosts:", "hosts: ")) + dice.choice((" ", "", "\t")).join(
        ("", *words)
    )
    if dice.random() < 0.5:
        text = text.replace(dice.choice(("", "\t")).join(words), " ".join(words))
    extra = dice.choice(("", "", "", "no colon here\n", "networks: [x\n", "# only: a comment\n", "hosts: dns\n"))
    return dice.choice((extra + text + "\n", text + dice.choice(("\n", "\r\n", " # c\n", "")) + extra)).encode()

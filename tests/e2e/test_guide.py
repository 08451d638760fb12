"""The first guide as it is printed: its commands, one after the other, in a container with nginx in which nobody has
installed anything; and what each prints is what the guide shows."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from deploy.lab.places import CONTAINERS, TREE
from deploy.story import witness
from tests.documents import page_text, section_of
from tests.e2e import guest as visitor
from tests.e2e.fleet import until

pytestmark = pytest.mark.lab

HERE = {
    "lxc102": visitor.NODE.name,
    "10.0.0.102": visitor.NODE.address,
    "wiki.internal.thinkheads.ai": visitor.NAME,
}
"""What the guide calls it, and what it is called here."""
VOLATILE = {
    r"\d{4}-\d\d-\d\d \d\d:\d\d UTC": "TIME",
    r"\b[0-9a-f]{16}…": "FINGERPRINT",
    r"\b[0-9a-f]{64}\b": "FINGERPRINT",
    r"certagent \d+\.\d+\.\d+\S*": "certagent VERSION",
}
_PLAIN = """server {
    listen 80;
    server_name NAME;
    return 301 https://$host$request_uri;
}
"""
_TLS = """server {
    listen 443 ssl;
    server_name NAME;
    ssl_certificate /etc/ssl/wiki/wiki.crt;
    ssl_certificate_key /etc/ssl/wiki/wiki.key;
}
"""
_SELF_SIGNED = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=wiki"
    f" -addext subjectAltName=DNS:{visitor.NAME} -keyout /etc/ssl/wiki/wiki.key -out /etc/ssl/wiki/wiki.crt"
)


@pytest.fixture
def untouched(green: None, guest: None) -> None:
    """Nothing of certagent's is there; nginx serves a certificate that it signed itself, and redirects the rest."""
    visitor.sh("rm -rf /etc/certagent; mkdir -p /etc/ssl/wiki; rm -f /etc/nginx/conf.d/*")
    for name, text in (("wiki.conf", _PLAIN), ("wiki-tls.conf", _TLS)):
        visitor.write(f"/etc/nginx/conf.d/{name}", text.replace("NAME", visitor.NAME))
    visitor.sh(f"{_SELF_SIGNED} 2>/dev/null; systemctl start nginx")


def test_the_first_guide_does_what_it_says(untouched: None) -> None:
    """From nothing to a proven renewal, for a reader who has nothing else."""
    printed = ""
    shown = 0
    for language, text in _blocks():
        if language == "console":
            printed = "".join(_run(command) for command in _commands(text))
        elif language == "nginx":
            visitor.write("/etc/nginx/conf.d/wiki.conf", text)
        else:
            print(printed)
            assert _steady(printed) == _steady(text)
            shown += 1
    assert shown >= 5
    status, document = witness.certagent(visitor.NODE.name, "status")
    (certificate,) = document["certificates"]
    assert (status, set(certificate["served"].values())) == (0, {certificate["on_disk"]["fingerprint"]})


def _blocks() -> Iterator[tuple[str, str]]:
    """Each block of the guide's first part, with its language, as it would be for this container."""
    part = section_of(page_text("get-started.md"), "## One container alone").partition("\n### ")[0]
    root = witness.inside("lxc103", "openssl", "x509", "-in", "/etc/certagent/root_ca.crt", "-noout", *_DIGEST).stdout
    here = HERE | {"HEX": root.partition("=")[2].strip().replace(":", "").lower()}
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", part, re.DOTALL | re.MULTILINE):
        yield language, re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)


_DIGEST = ("-fingerprint", "-sha256")


def _commands(text: str) -> list[str]:
    return [line.removeprefix("# ") for line in text.replace("\\\n", " ").splitlines()]


def _run(command: str) -> str:
    """Standard output and error, whatever its exit status; on the host, or in the container."""
    if command.startswith("deploy/lxc/install 102"):
        words = [str(TREE / "deploy" / "lxc" / "install"), visitor.NODE.name, *command.split()[2:]]
        words += ["--transport", "lxc-attach", "--lxcpath", str(CONTAINERS)]
        told = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout
        if "--role" in words:
            until("the first order is over", 30, _is_ordered)
        return told
    inside = command.removeprefix("pct exec 102 -- ")
    assert inside != command, f"the guide has a command that this test does not know: {command}"
    return witness.inside(visitor.NODE.name, "sh", "-c", f"{{ {inside}; }} 2>&1", check=False).stdout


def _is_ordered() -> bool:
    _, document = witness.certagent(visitor.NODE.name, "status")
    return bool(document["certificates"][0]["last_outcome"] == "done")


def _steady(text: str) -> str:
    """Without what differs from day to day, and without empty lines at the ends."""
    for pattern, name in VOLATILE.items():
        text = re.sub(pattern, name, text)
    return text.strip()

"""What people met on the way to a challenge and at Traefik, done again on the lab: cases 03, 04, 20 and 22; names that
lead the CA to itself; Traefik's files lost, swung away or beside others'."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.story import witness
from tests.e2e.fleet import IDENTIFIERS, TRAEFIK, check, check_one, codes, restart_agent, until

pytestmark = pytest.mark.lab

NGINX = IDENTIFIERS["lxc101"][0]
GATEWAY, ZONE = "/etc/nginx/conf.d/gateway.conf", "/etc/dnsmasq.d/internal.conf"
STATIC, DYNAMIC = "/etc/traefik/traefik.yml", "/etc/traefik/dynamic"
CONFIGURATION = "/etc/certagent/agent.toml"
DATABASE = "/var/lib/step-ca/db"
PROVEN = ("done", "found")
SOON = 30.0
"""Seconds. What is to be seen is reported within a few; the machine may be busy."""


def _sh(node: str, script: str) -> str:
    return witness.inside(node, "sh", "-euc", script).stdout


def _renew(node: str, name: str) -> str:
    _, document = witness.certagent(node, "renew", name, "--force")
    return str(document["certificates"][0]["outcome"])


def _restart_dnsmasq() -> None:
    _sh("lxc101", "systemctl reset-failed dnsmasq; systemctl restart dnsmasq")


def _restart_traefik() -> None:
    _sh("lxc102", "systemctl restart traefik")
    until("Traefik listens", SOON, lambda: _sh("lxc102", "ss -Hltn 'sport = :443'"))


def _redirects() -> bool:
    """Whether Traefik has loaded its entry point's redirection: until then it answers 404."""
    asked = "curl -s -o /dev/null -w '%{http_code}' http://10.0.0.12/nothing"
    return _sh("lxc102", asked) == "301"


def _open() -> list[dict[str, Any]]:
    return witness.open_incidents()


def _culprits() -> set[tuple[str, str | None]]:
    return {(one["culprit"]["node"], one["culprit"]["file"]) for one in _open()}


def _line_of(judgement: dict[str, Any]) -> tuple[str, str, str]:
    culprit = judgement["findings"][0]["culprit"]
    return culprit["node"], culprit["file"], culprit["text"]


@pytest.fixture
def kept(green: None) -> Iterator[Callable[..., None]]:
    """Files of a node, as they were: told before they are changed; `restart` is run once they are back."""
    undo: list[tuple[str, str, str]] = []

    def keep(node: str, path: str, restart: str) -> None:
        copy = f"/root/kept{len(undo)}"
        _sh(node, f"rm -rf {copy}; cp -a {path} {copy}")
        undo.append((node, f"rm -rf {path}; cp -a {copy} {path}; rm -rf {copy}", restart))

    yield keep
    for node, script, _ in reversed(undo):
        _sh(node, script)
    for node, restart in dict.fromkeys((node, restart) for node, _, restart in undo):
        _sh(node, restart)
    until("the agents answer", SOON, lambda: all(witness.certagent(node, "status")[0] != 1 for node in IDENTIFIERS))
    until("all proceed", SOON, lambda: all(check(node)["verdict"] == "proceed" for node in IDENTIFIERS))


_REDIRECTION = """
    http:
      redirections:
        entryPoint:
          to: websecure
          scheme: https
"""


def test_an_entry_point_that_redirects_everything(kept: Callable[..., None]) -> None:
    """Case 03. The redirection's line is to blame, not our own router, which it comes before; `priority: 1` is the way
    out."""
    kept("lxc102", STATIC, "systemctl restart traefik")
    lines = _REDIRECTION.strip("\n").replace("\n", "\\n")
    _sh("lxc102", f"sed -i 's/^    address: \":80\"$/&\\n{lines}/' {STATIC}")
    _restart_traefik()
    until("Traefik redirects", SOON, _redirects)
    judgement = check_one("lxc102", TRAEFIK)
    node, file, text = _line_of(judgement)
    assert (judgement["verdict"], node, file) == ("block", "lxc102", STATIC), judgement["findings"]
    assert text.strip() in {line.strip() for line in _REDIRECTION.splitlines() if line}
    assert _renew("lxc102", "traefik") == "blocked"
    until("the incident is there", SOON, lambda: _culprits() == {("lxc102", STATIC)})
    assert [victim["identifier"] for victim in _open()[0]["victims"]] == [TRAEFIK]
    _sh("lxc102", f"sed -i 's/^          scheme: https$/&\\n          priority: 1/' {STATIC}")
    _restart_traefik()
    until("our router comes first", SOON, lambda: check_one("lxc102", TRAEFIK)["verdict"] == "proceed")
    until("the incident is over", SOON, lambda: not _open())


def test_a_port_80_that_expects_the_proxy_protocol(kept: Callable[..., None]) -> None:
    """Case 04. nginx cuts every plain connection; the `listen` line says why."""
    kept("lxc101", GATEWAY, "nginx -t -q; systemctl reload nginx")
    _sh(
        "lxc101",
        f"sed -i 's/listen 80;/listen 80 proxy_protocol;/; s/listen 80 default_server;/listen 80 default_server"
        f" proxy_protocol;/' {GATEWAY}; nginx -t -q; systemctl reload nginx",
    )
    until("nginx has it", SOON, lambda: check("lxc101")["verdict"] == "block")
    for identifier in IDENTIFIERS["lxc101"]:
        node, file, text = _line_of(check_one("lxc101", identifier))
        assert (node, file) == ("lxc101", GATEWAY)
        assert "listen" in text
        assert "proxy_protocol" in text
    until("it is one incident, there", SOON, lambda: _culprits() == {("lxc101", GATEWAY)})
    (incident,) = _open()
    assert "proxy_protocol" in incident["culprit"]["text"]
    assert {victim["identifier"] for victim in incident["victims"]} == set(IDENTIFIERS["lxc101"])


def _give_records(*addresses: str) -> None:
    """Those addresses to both names of the gateway, and no others."""
    names = "\\|".join(name.replace(".", "\\.") for name in IDENTIFIERS["lxc101"])
    _sh("lxc101", f"sed -i 's/^\\(host-record=\\({names}\\)\\),.*/\\1,{','.join(addresses)}/' {ZONE}")
    _restart_dnsmasq()


def test_a_port_80_that_listens_by_ipv6_alone(kept: Callable[..., None]) -> None:
    """Case 20. By IPv4 the CA is refused; with an AAAA, beside the A or alone, it gets there."""
    kept("lxc101", GATEWAY, "systemctl restart nginx")
    kept("lxc101", ZONE, "systemctl reset-failed dnsmasq; systemctl restart dnsmasq")
    _sh("lxc101", f"sed -i 's/listen 80/listen [::]:80/' {GATEWAY}; systemctl restart nginx")
    refused = check("lxc101")
    assert refused["verdict"] == "block"
    for judgement in refused["identifiers"]:
        culprit = judgement["findings"][0]["culprit"]
        assert (culprit["node"], culprit["address"]) == ("lxc101", "10.0.0.153")
    try:
        for node, address in (("lxc101", "fd00:10::153"), ("lxc103", "fd00:10::10")):
            _sh(node, f"ip -6 addr add {address}/64 dev eth0 nodad")
        for addresses in (("10.0.0.153", "fd00:10::153"), ("fd00:10::153",)):
            _give_records(*addresses)
            until("it proceeds", SOON, lambda: check("lxc101")["verdict"] == "proceed")
            assert _renew("lxc101", "gateway") in PROVEN
    finally:
        for node, address in (("lxc101", "fd00:10::153"), ("lxc103", "fd00:10::10")):
            _sh(node, f"ip -6 addr del {address}/64 dev eth0 || true")


def test_a_ca_whose_database_is_truncated(green: None) -> None:
    """Case 22. Its own node does not proceed; there and at a client the finding quotes what its journal says; and so
    does the incident."""
    _sh("lxc103", f"systemctl stop step-ca; cp -a {DATABASE} /root/db.kept")
    try:
        stopped = witness.certagent("lxc103", "check")
        assert (stopped[0], stopped[1]["verdict"]) == (4, "block")
        assert "Stopped step-ca" in stopped[1]["findings"][0]["explanation"]
        _sh("lxc103", f'head -c 4096 /dev/urandom >> "$(ls {DATABASE}/*.vlog | tail -n 1)"; systemctl start step-ca')
        for _ in range(5):  # it is started again and again, and every moment of that says the same
            status, document = witness.certagent("lxc103", "check")
            assert (status, document["verdict"]) == (4, "block")
            (finding,) = [one for one in document["findings"] if one["code"].startswith("ca.")]
            assert finding["code"] == "ca.unreachable"
            assert "error opening Badger database" in finding["explanation"]
        judgement = check_one("lxc102", TRAEFIK)
        first = judgement["findings"][0]
        assert (judgement["verdict"], first["code"], first["culprit"]["node"]) == ("block", "ca.unreachable", "lxc103")
        assert "error opening Badger database" in first["explanation"]
        until("the incident says so", SOON, lambda: any("Badger" in one["explanation"] for one in _open()))
        (incident,) = [one for one in _open() if one["code"] == "ca.unreachable"]
        assert TRAEFIK in {victim["identifier"] for victim in incident["victims"]}
    finally:
        _sh(
            "lxc103",
            f"systemctl stop step-ca; rm -rf {DATABASE}; mv /root/db.kept {DATABASE};"
            " systemctl reset-failed step-ca || true; systemctl start step-ca",
        )
    until("the CA answers", SOON, lambda: witness.certagent("lxc103", "check")[0] == 0)
    until("all proceed", SOON, lambda: all(check(node)["verdict"] == "proceed" for node in IDENTIFIERS))


@pytest.mark.parametrize("line", ["address=/{name}/0.0.0.0", "address=/{name}/#", "host-record={name},0.0.0.0,::"])
def test_a_record_that_leads_the_ca_to_itself(kept: Callable[..., None], line: str) -> None:
    """What blocks a name elsewhere sends the CA to itself: the nameserver's line is the culprit, one incident."""
    kept("lxc101", ZONE, "systemctl reset-failed dnsmasq; systemctl restart dnsmasq")
    text = line.format(name=TRAEFIK)
    _sh("lxc101", f"sed -i 's|^host-record={TRAEFIK},.*|{text}|' {ZONE}")
    _restart_dnsmasq()
    number = int(_sh("lxc101", f"grep -nF '{text}' {ZONE} | cut -d: -f1"))

    def first() -> tuple[Any, ...]:
        finding = check_one("lxc102", TRAEFIK)["findings"][0]
        culprit = finding["culprit"]
        return finding["code"], culprit["node"], culprit["file"], culprit["line"]

    until("the line is named", SOON, lambda: first() == ("dns.loopback", "lxc101", ZONE, number))
    assert check_one("lxc102", TRAEFIK)["verdict"] == "block"
    until("it is the only incident", SOON, lambda: _culprits() == {("lxc101", ZONE)})


def test_a_hosts_line_that_leads_the_ca_to_itself(kept: Callable[..., None]) -> None:
    """By the unspecified address as by loopback."""
    kept("lxc103", "/etc/hosts", "true")
    _sh("lxc103", f"echo '0.0.0.0 {TRAEFIK}' >>/etc/hosts")
    number = int(_sh("lxc103", "wc -l </etc/hosts"))
    judgement = until("it blocks", SOON, lambda: (one := check_one("lxc102", TRAEFIK))["verdict"] == "block" and one)
    culprit = judgement["findings"][0]["culprit"]
    assert codes(judgement)[0] == "dns.loopback"
    assert (culprit["node"], culprit["file"], culprit["line"]) == ("lxc103", "/etc/hosts", number)


# --- Traefik's files ----------------------------------------------------------------------------------------------


def _served() -> str:
    """What a client is shown; nothing, where it is nothing that it trusts."""
    try:
        return witness.served("10.0.0.12", TRAEFIK)
    except witness.Unseen:
        return ""


def _on_disk() -> str:
    _, status = witness.certagent("lxc102", "status")
    return str(status["certificates"][0]["on_disk"]["fingerprint"])


def _reports() -> list[dict[str, Any]]:
    """Those of lxc102 about its certificate, the newest first."""
    found = [one for one in witness.items("/v1/reports") if one["agent"] == "lxc102" and one["kind"] == "renewal"]
    return sorted(found, key=lambda one: int(one["sequence"]), reverse=True)


def _told(since: int = 0) -> list[str]:
    """The codes of what lxc102 reported last of its certificate, if that was after the report of that number."""
    newest = _reports()[0]
    return [finding["code"] for finding in newest["findings"]] if int(newest["sequence"]) > since else []


def test_somebody_elses_pair_for_our_name(kept: Callable[..., None]) -> None:
    """It is found before an order is placed, by file and line, and is over once it is removed."""
    kept("lxc102", DYNAMIC, "systemctl restart traefik")
    _sh(
        "lxc102",
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN={TRAEFIK}"
        f" -addext subjectAltName=DNS:{TRAEFIK} -keyout /etc/traefik/mine.key -out /etc/traefik/mine.crt 2>/dev/null;"
        f" printf 'tls:\\n  certificates:\\n    - certFile: /etc/traefik/mine.crt\\n      keyFile:"
        f" /etc/traefik/mine.key\\n' >{DYNAMIC}/mine.yml",
    )
    before = _on_disk()
    judgement = check_one("lxc102", TRAEFIK)
    first = judgement["findings"][0]
    culprit = first["culprit"]
    assert (judgement["verdict"], first["code"]) == ("block", "deploy.rival_pair")
    assert (culprit["node"], culprit["file"], culprit["line"]) == ("lxc102", f"{DYNAMIC}/mine.yml", 3)
    assert _renew("lxc102", "traefik") == "blocked"
    assert _on_disk() == before
    _sh("lxc102", f"rm {DYNAMIC}/mine.yml")
    assert check_one("lxc102", TRAEFIK)["verdict"] == "proceed"
    until("ours is served", SOON, lambda: _served() == before)
    until("no incident is left", 90, lambda: not _open())


@pytest.mark.parametrize(
    "lose",
    [
        f"rm {DYNAMIC}/certagent-traefik.yml",
        f"rm -r {DYNAMIC}/certagent-traefik.yml /etc/traefik/certagent",
        f"cp -a {DYNAMIC} /root/anew; rm -r {DYNAMIC} /etc/traefik/certagent; rm /root/anew/certagent-*;"
        f" mv /root/anew {DYNAMIC}",
    ],
    ids=["the file", "git clean", "the folder made anew"],
)
def test_what_traefik_has_lost_is_put_back(green: None, lose: str) -> None:
    """Without a person and without an order: the same certificate is served again, that is told, and is no incident. A
    Traefik whose folder was made anew watches the old one until it is restarted."""
    before, last = _on_disk(), int(_reports()[0]["sequence"])
    _sh("lxc102", lose)
    until("it is back", SOON, lambda: _sh("lxc102", f"ls {DYNAMIC}").count("certagent-traefik.yml"))
    until("that is told", SOON, lambda: "deploy.put_back" in _told(last))
    if _served() == before:
        assert not _open()
    else:
        assert ("anew" in lose, _told(last)[0]) == (True, "deploy.traefik_not_loaded")
    _restart_traefik()
    until("it is served by a new Traefik", SOON, lambda: _served() == before)
    assert _on_disk() == before
    until("no incident is left", 90, lambda: not _open())


def test_what_others_wrote_in_place_of_ours_is_told_and_left(kept: Callable[..., None]) -> None:
    """The incident names the file; nobody overwrites it."""
    kept("lxc102", DYNAMIC, "systemctl restart traefik; systemctl restart certagent-agent")
    _sh("lxc102", f"echo '# by a role' >{DYNAMIC}/certagent-traefik.yml")
    until("it is told", SOON, lambda: ("lxc102", f"{DYNAMIC}/certagent-traefik.yml") in _culprits())
    assert _sh("lxc102", f"cat {DYNAMIC}/certagent-traefik.yml") == "# by a role\n"


def test_a_release_link_that_is_swung(kept: Callable[..., None]) -> None:
    """Our files come to be in the release that `current` leads to now, and the next renewal is served from there."""
    again = "systemctl restart traefik; systemctl restart certagent-agent; certagent renew traefik --force >/dev/null"
    for path in (STATIC, CONFIGURATION):
        kept("lxc102", path, again)
    current, releases = "/etc/traefik/current", "/etc/traefik/releases"
    _sh(
        "lxc102",
        f"mkdir -p {releases}/1 {releases}/2; cp -a {DYNAMIC} {releases}/1/dynamic; ln -s releases/1 {current};"
        f" rm {releases}/1/dynamic/certagent-traefik.yml; cp -a {releases}/1/dynamic {releases}/2/dynamic;"
        f" sed -i 's#{DYNAMIC}#{current}/dynamic#' {STATIC} {CONFIGURATION}",
    )
    try:
        _restart_traefik()
        restart_agent("lxc102")
        until("ours is there", SOON, lambda: _sh("lxc102", f"ls {releases}/1/dynamic").count("certagent-traefik.yml"))
        before = _on_disk()
        until("it is served", SOON, lambda: _served() == before)
        _sh("lxc102", f"ln -s releases/2 /etc/traefik/next; mv -T /etc/traefik/next {current}")
        until("it follows", SOON, lambda: _sh("lxc102", f"ls {releases}/2/dynamic").count("certagent-traefik.yml"))
        _restart_traefik()
        until("it is served from there", SOON, lambda: _served() == before)
        assert _renew("lxc102", "traefik") in PROVEN
        assert _served() == _on_disk() != before
        assert _sh("lxc102", f"ls {releases}/2/certagent/traefik").strip()
        newest = _on_disk()
        _sh("lxc102", f"ln -s releases/1 /etc/traefik/next; mv -T /etc/traefik/next {current}")
        until("it follows back", SOON, lambda: _told().count("deploy.put_back"))
        _restart_traefik()
        until("the newest is served there, too", SOON, lambda: _served() == newest)
        until("no incident is left", 90, lambda: not _open())
    finally:
        _sh("lxc102", f"rm -r {current} {releases}")

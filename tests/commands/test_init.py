"""`certagent init`: what it finds, what it would make, and that it changes nothing else."""

import json
from pathlib import Path

import msgspec
import pytest

from certagent.commands import UnableError
from certagent.commands import init as command
from certagent.config import CommandTarget, HaproxyTarget, ListenerSolver, NginxTarget, ProofEndpoint, load_agent
from certagent.vantage import nginx_pairs, service_pairs, traefik_config
from certagent.vantage.imported_renewals import read_renewals
from tests.certificates import Authority

RECORDED = Path(__file__).parent / "recorded"
NGINX = """
http {
    server { listen 80; server_name nginx.internal; }
    server { listen 443 ssl; server_name nginx.internal portainer.phoenix;
             ssl_certificate ssl/gateway.crt; ssl_certificate_key ssl/gateway.key; }
}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nginx and Traefik with files of their own."""
    (tmp_path / "nginx.conf").write_text(NGINX)
    (tmp_path / "dynamic").mkdir()
    router = "http: {routers: {a: {rule: 'Host(`portainer.internal`) || Host(`portainer.phoenix`)'}}}"
    (tmp_path / "dynamic" / "portainer.yml").write_text(router)
    (tmp_path / "traefik.yml").write_text(f"providers: {{file: {{directory: {tmp_path}/dynamic}}}}")
    Authority().write_root(tmp_path / "root.crt")
    monkeypatch.setattr(command, "find_nginx", lambda: nginx_pairs.find_nginx(tmp_path / "nginx.conf"))
    monkeypatch.setattr(command, "NGINX", tmp_path / "nginx.conf")
    monkeypatch.setattr(command, "find_traefik", lambda: traefik_config.find_traefik((tmp_path / "traefik.yml",)))
    monkeypatch.setattr(command, "find_services", lambda: service_pairs.find_services(tmp_path))
    monkeypatch.setattr(command, "SNIPPET", tmp_path / "snippets" / "certagent-challenge.conf")
    return tmp_path


def _wish(house: Path, **more: object) -> command.InitRequest:
    return command.InitRequest(
        directory="https://ca:9000/acme/acme/directory",
        root=house / "root.crt",
        configuration=house / "agent.toml",
        **more,  # type: ignore[arg-type]
    )


def _nobody(_: str) -> bool:
    raise AssertionError("nobody is to be asked")


def _files(house: Path) -> set[str]:
    return {str(path.relative_to(house)) for path in house.rglob("*") if path.is_file()}


def test_it_says_what_it_would_make_and_makes_nothing(house: Path) -> None:
    """Configuration, challenge snippets, and what a person has to edit."""
    before = _files(house)
    document = command.init(_wish(house), _nobody, write=False)
    assert _files(house) == before
    assert [(Path(one["file"]).name, one["exists"], one["done"]) for one in document["changes"]] == [
        ("agent.toml", False, False),
        ("certagent-challenge.conf", False, False),
        ("certagent-challenge.yml", False, False),
    ]
    assert "include snippets/certagent-challenge.conf" in document["by_hand"][0]
    assert "complete [collector] (url, addresses)" in document["by_hand"][-1]
    assert "proxy_pass http://127.0.0.1:5002" in document["changes"][1]["content"]
    assert json.dumps(document)
    assert "agent.toml: would be written" in command.render(document)


def test_what_it_writes_is_a_configuration_and_overwrites_nothing(house: Path) -> None:
    """Each pair a certificate, each router's hosts one; a second time it is refused, and nothing has changed."""
    (house / "snippets").mkdir()
    (house / "snippets" / "certagent-challenge.conf").write_text("mine")
    document = command.init(_wish(house), _nobody, write=True)
    settings = load_agent(house / "agent.toml")
    nginx, traefik = settings.certificate
    assert nginx.identifiers == ("nginx.internal", "portainer.phoenix")
    assert isinstance(nginx.deploy[0], NginxTarget)
    assert nginx.deploy[0].certificate == house / "ssl" / "gateway.crt"
    assert traefik.identifiers == ("portainer.internal", "portainer.phoenix")
    assert (house / "snippets" / "certagent-challenge.conf").read_text() == "mine"
    assert [one["done"] for one in document["changes"]] == [True, False, True]
    with pytest.raises(command.ExistsError):
        command.init(_wish(house), _nobody, write=True)


def test_another_root_than_the_expected_one_ends_it(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, so that the same command works once the fingerprint is right."""
    sent, before = (house / "root.crt").read_bytes(), _files(house)

    async def fetch(_: str) -> list[bytes]:
        return [sent]

    monkeypatch.setattr(command, "fetch_roots", fetch)
    request = msgspec.structs.replace(_wish(house, fingerprint="ab" * 32), root=house / "etc" / "root.crt")
    with pytest.raises(UnableError, match=f"sends the root {command.fingerprint_of(sent)}, not abab.*nothing was wr"):
        command.init(request, _nobody, write=True)
    assert _files(house) == before
    right = msgspec.structs.replace(request, fingerprint=command.fingerprint_of(sent))
    command.init(right, _nobody, write=True)
    assert right.root.read_bytes() == sent


def test_traefiks_own_acme_is_watched_and_its_folder_left_alone(house: Path) -> None:
    """A file in there would be live at once."""
    with (house / "traefik.yml").open("a") as file:
        file.write("\ncertificatesResolvers: {step: {acme: {}}}\n")
    document = command.init(_wish(house), _nobody, write=True)
    traefik = load_agent(house / "agent.toml").certificate[1]
    assert (traefik.name, traefik.manage, traefik.solver) == ("traefik", False, None)
    assert not (house / "dynamic" / command.CHALLENGE_YAML).exists()
    assert command.CHALLENGE_YAML not in command.render(document)


@pytest.mark.parametrize(
    ("resolvers", "challenge"),
    [
        ("{step: {acme: {tlsChallenge: {}}}}", "tls-alpn-01"),
        ("{step: {acme: {dnsChallenge: {provider: x}}}}", "dns-01"),
        ("{step: {acme: {httpChallenge: {entryPoint: web}}}}", "http-01"),
        ("{a: {acme: {tlsChallenge: {}}}, b: {acme: {dnsChallenge: {}}}}", "http-01"),
        ("{a: nonsense, b: {acme: nonsense}}", "http-01"),
        ("nonsense", "http-01"),
    ],
)
def test_traefiks_own_acme_is_watched_by_its_own_challenge(house: Path, resolvers: str, challenge: str) -> None:
    """As its resolvers say; nobody is asked on port 80 for what is proven otherwise."""
    with (house / "traefik.yml").open("a") as file:
        file.write(f"\ncertificatesResolvers: {resolvers}\n")
    command.init(_wish(house), _nobody, write=True)
    traefik = load_agent(house / "agent.toml").certificate[1]
    assert (traefik.manage, traefik.challenge) == (False, challenge)


def test_certbots_renewals_are_imported_to_be_watched(house: Path) -> None:
    """Files that a real certbot made; the names come from the certificate. It renews until a person says otherwise."""
    wish = _wish(house, imports=(RECORDED / "letsencrypt",))
    command.init(wish, _nobody, write=True)
    gateway = load_agent(house / "agent.toml").certificate[0]
    assert (gateway.name, gateway.manage, gateway.solver) == ("gateway", False, None)
    assert gateway.identifiers == ("traefik.internal.thinkheads.ai",)
    (target,) = gateway.deploy
    assert isinstance(target, CommandTarget)
    assert target.certificate == Path("/etc/letsencrypt/live/gateway/fullchain.pem")
    assert target.command == ("systemctl", "reload", "nginx")
    assert "stop certbot's own renewals" in command.render(
        command.init(_wish(house, imports=wish.imports), _nobody, write=False)
    )


def test_a_pair_that_nginx_names_becomes_its_target(house: Path) -> None:
    """Once, not a second time by the detection."""
    live = "/etc/letsencrypt/live/gateway"
    text = NGINX.replace("ssl/gateway.crt", f"{live}/fullchain.pem").replace("ssl/gateway.key", f"{live}/privkey.pem")
    (house / "nginx.conf").write_text(text)
    command.init(_wish(house, imports=(RECORDED / "letsencrypt",)), _nobody, write=True)
    gateway, traefik = load_agent(house / "agent.toml").certificate
    assert isinstance(gateway.deploy[0], NginxTarget)
    assert traefik.name == "traefik"


def test_legos_renewals_are_imported(house: Path) -> None:
    """A folder as lego keeps it: the names are those of the certificate."""
    folder = house / ".lego" / "certificates"
    folder.mkdir(parents=True)
    (folder / "_.phoenix.internal.json").write_text('{"domain": "*.phoenix.internal", "certUrl": "https://ca/1"}')
    pair = Authority().issue("*.phoenix.internal", "phoenix.internal")
    (folder / "_.phoenix.internal.crt").write_bytes(pair.chain_pem)
    (found,) = read_renewals(house / ".lego").value
    assert found.identifiers == ("*.phoenix.internal", "phoenix.internal")
    assert (found.name, found.renewer, found.key) == ("phoenix.internal", "lego", folder / "_.phoenix.internal.key")


@pytest.mark.parametrize(
    ("settings", "names", "challenge"),
    [
        ("authenticator = webroot", ("a.internal",), "http-01"),
        ("authenticator = dns-rfc2136", ("a.internal",), "dns-01"),
        ("authenticator = manual\npref_challs = dns-01,", ("a.internal",), "dns-01"),
        ("authenticator = manual\npref_challs = http-01, dns-01", ("a.internal",), "http-01"),
        ("authenticator = manual", ("*.internal", "internal"), "dns-01"),
    ],
)
def test_an_imported_renewal_is_watched_by_its_own_challenge(
    house: Path, settings: str, names: tuple[str, ...], challenge: str
) -> None:
    """Nobody is asked on port 80 for what certbot proves by a record; a wildcard makes no configuration that fails."""
    pair = Authority().issue(*names)
    (house / "live.pem").write_bytes(pair.chain_pem)
    text = f"fullchain = {house}/live.pem\nprivkey = {house}/key.pem\n[renewalparams]\n{settings}\n"
    (house / "site.conf").write_text(text)
    command.init(_wish(house, imports=(house / "site.conf",)), _nobody, write=True)
    watched = load_agent(house / "agent.toml").certificate[0]
    assert (watched.manage, watched.identifiers, watched.challenge) == (False, names, challenge)


def test_a_list_in_json_is_managed_from_the_start(house: Path) -> None:
    """It names no other renewer. A command that needs a shell is not guessed at."""
    entry = {
        "common_name": "db.internal",
        "sans": ["db.internal", "pg.internal"],
        "cert_path": "/etc/db/server.crt",
        "key_path": "/etc/db/server.key",
        "owner": "postgres:ssl-cert",
        "permissions": "0640",
        "post_renewal_command": "systemctl reload postgresql",
    }
    other = entry | {"common_name": "x.internal", "sans": [], "post_renewal_command": "cat a b > c && reload"}
    (house / "list.json").write_text(json.dumps({"certificates": [entry, other]}))
    document = command.init(_wish(house, imports=(house / "list.json",)), _nobody, write=True)
    first, second = load_agent(house / "agent.toml").certificate[:2]
    assert (first.manage, first.identifiers) == (True, ("db.internal", "pg.internal"))
    assert isinstance(first.deploy[0], CommandTarget)
    target = first.deploy[0]
    assert (target.owner, target.group, target.mode) == ("postgres", "ssl-cert", 0o640)
    assert target.command == ("systemctl", "reload", "postgresql")
    assert isinstance(second.deploy[0], CommandTarget)
    assert second.deploy[0].command == ()
    assert '# "cat a b > c && reload" needs a shell' in document["configuration"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.conf", "cert = /a\n", "not a certbot renewal: it has no fullchain"),
        ("x.json", "[{}]", "not a list of certificates"),
        ("x.json", "nonsense", "neither a certbot renewal"),
        (
            "x.json",
            '[{"common_name": "a", "cert_path": "/a", "key_path": "/b", "permissions": "rw"}]',
            "'rw' is not a mode",
        ),
    ],
)
def test_what_cannot_be_imported_is_said(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    """In a sentence."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read_renewals(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="contains none of these"):
        read_renewals(tmp_path / "empty")


# --- other services ---------------------------------------------------------------------------------------------------


@pytest.fixture
def services(house: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Certificates of services, and neither nginx nor Traefik."""
    (house / "nginx.conf").unlink()
    monkeypatch.setattr(command, "find_traefik", lambda: None)
    monkeypatch.setattr(command, "node_addresses", lambda: ("10.0.0.7",))
    private = Authority()
    for name in ("apps", "shop", "db", "mail"):
        pair = private.issue(f"{name}.internal")
        contents = {"pem": pair.chain_pem + pair.key_pem, "crt": pair.chain_pem, "key": pair.key_pem}
        for ending, content in contents.items():
            (house / f"{name}.{ending}").write_bytes(content)
            (house / f"{name}.{ending}").chmod(0o600)
    return house


def _etc(house: Path, file: str, text: str) -> None:
    path = house / "etc" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("HOUSE", str(house)))


POSTGRESQL = "listen_addresses = '*'\nssl = on\nssl_cert_file = 'HOUSE/db.crt'\nssl_key_file = 'HOUSE/db.key'\n"
POSTFIX = "smtpd_tls_cert_file = HOUSE/mail.crt\nsmtpd_tls_key_file=HOUSE/mail.key\n"
MASTER = "smtp      inet  n - y - - smtpd\n#submission inet n\nsmtps inet n - y - - smtpd\n"


def test_other_services_are_written_as_the_agent_loads_them(services: Path) -> None:
    """Each with its kind, its command, and how a proof speaks to it."""
    binds = " bind *:443 ssl crt HOUSE/apps.pem\n bind :8443 accept-proxy ssl crt HOUSE/apps.pem\n"
    _etc(services, "haproxy/haproxy.cfg", f"frontend f\n{binds}")
    _etc(services, "caddy/Caddyfile", "shop.internal {\n  tls HOUSE/shop.crt HOUSE/shop.key\n}\n")
    _etc(services, "postgresql/15/main/postgresql.conf", POSTGRESQL)
    _etc(services, "postfix/main.cf", POSTFIX)
    _etc(services, "postfix/master.cf", MASTER)
    document = command.init(_wish(services), _nobody, write=True)
    certificates = load_agent(services / "agent.toml").certificate
    assert [(one.name, one.identifiers, one.manage) for one in certificates] == [
        ("haproxy", ("apps.internal",), True),
        ("caddy", ("shop.internal",), True),
        ("postgresql", ("db.internal",), True),
        ("postfix", ("mail.internal",), True),
    ]
    haproxy, caddy, postgresql, postfix = (one.deploy[0] for one in certificates)
    assert haproxy == HaproxyTarget(
        certificate=services / "apps.pem",
        prove=("10.0.0.7:443", ProofEndpoint(address="10.0.0.7:8443", proxy_protocol=True)),
    )
    assert caddy == CommandTarget(
        certificate=services / "shop.crt",
        key=services / "shop.key",
        reader="caddy",
        command=("caddy", "reload", "--config", f"{services}/etc/caddy/Caddyfile", "--force"),
        prove=("10.0.0.7:443",),
    )
    assert isinstance(postgresql, CommandTarget)
    assert postgresql.command == ("systemctl", "reload", "postgresql@15-main")
    assert postgresql.prove == (ProofEndpoint(address="10.0.0.7:5432", starttls="postgres"),)
    assert isinstance(postfix, CommandTarget)
    assert postfix.command == ("systemctl", "reload", "postfix")
    assert postfix.prove == (ProofEndpoint(address="10.0.0.7:25", starttls="smtp"), "10.0.0.7:465")
    assert document["skipped"] == []
    assert [step for step in document["by_hand"] if "acme-challenge" in step] == [
        "in HAProxy's frontend for port 80: `use_backend certagent if { path_beg /.well-known/acme-challenge/ }`,"
        " before any redirect; and `backend certagent` with `mode http` and `server agent 127.0.0.1:5002`; then reload"
        " HAProxy",
        "in Caddy's configuration, a site `http://NAME` for each name, with `handle /.well-known/acme-challenge/*"
        " { reverse_proxy 127.0.0.1:5002 }` and, for the rest, `handle { redir https://{host}{uri} }`; then reload"
        " Caddy",
    ]


def test_where_no_web_server_is_the_agent_answers_on_port_80_itself(services: Path) -> None:
    """A database's node has nobody who could send the challenge on."""
    _etc(services, "postgresql/15/main/postgresql.conf", POSTGRESQL)
    document = command.init(_wish(services), _nobody, write=True)
    (database,) = load_agent(services / "agent.toml").certificate
    assert database.solver == ListenerSolver(listen="0.0.0.0:80")
    assert not any("acme-challenge" in step for step in document["by_hand"])


def test_what_cannot_be_deployed_to_is_said(services: Path) -> None:
    """Proxmox's own proxy, and Nginx Proxy Manager with its database; what the latter serves is watched at most."""
    (services / "usr/bin").mkdir(parents=True)
    (services / "usr/bin/pvenode").touch()
    (services / "data/custom_ssl/npm-2").mkdir(parents=True)
    (services / "data/database.sqlite").touch()
    pair = Authority().issue("wiki.internal")
    (services / "data/custom_ssl/npm-2/fullchain.pem").write_bytes(pair.chain_pem)
    live = f"{services}/data/custom_ssl/npm-2"
    (services / "nginx.conf").write_text(
        NGINX.replace("ssl/gateway.crt", f"{live}/fullchain.pem").replace("ssl/gateway.key", f"{live}/privkey.pem")
    )
    document = command.init(_wish(services), _nobody, write=True)
    found = "\n".join(document["found"])
    assert "`pvenode cert set CHAIN KEY --force --restart`" in found
    assert "Nginx Proxy Manager (/data/database.sqlite) keeps its certificates in its database" in found
    assert "manage = false watch what it serves" in found
    assert f"Nginx Proxy Manager renews {live}/fullchain.pem" in found
    (watched,) = load_agent(services / "agent.toml").certificate
    assert watched.manage is False

"""Traefik's configurations as people have them: what is found, what is said, and at which line."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from certagent.commands.certificate_drafts import drafts_of
from certagent.domain.diagnosis import conclude
from certagent.domain.observations import Place, ServerAction
from certagent.domain.web_servers import traefik_routing
from certagent.domain.web_servers.traefik import Configuration, dangling
from certagent.vantage.config_nodes import load_node
from certagent.vantage.configured_certificates import ConfiguredCertificates
from certagent.vantage.foreign_files import Notes, Reading
from certagent.vantage.traefik_config import find_other_providers, find_traefik, read_traefik
from certagent.vantage.traefik_files import load_static, provider_files
from tests.evidence import NODE, OWN, make_evidence, make_hop, make_resolution
from tests.field.tree import CASES, Tree

pytestmark = pytest.mark.slow

NAME = "app.lan.test"
STATIC = """\
entryPoints:
  web:
    address: ":80"
  websecure:
    address: ":443"
providers:
  file:
    directory: DYNAMIC
"""
CHALLENGE = """\
http:
  routers:
    certagent-challenge:
      entryPoints: [web]
      rule: "PathPrefix(`/.well-known/acme-challenge/`)"
      priority: 100000
      service: certagent-challenge
  services:
    certagent-challenge:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:5002"
"""


class House:
    """A Traefik's files in a folder of the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dynamic = root / "dynamic"
        self.static = root / "traefik.yml"
        self.dynamic.mkdir(exist_ok=True)
        self.configure(STATIC)

    def configure(self, text: str, name: str = "traefik.yml") -> None:
        """The static file, with DYNAMIC for the folder."""
        self.static = self.root / name
        self.static.write_text(text.replace("DYNAMIC", str(self.dynamic)))

    def write(self, **files: str) -> None:
        """Files of the file provider: `apps_yml` is apps.yml."""
        for name, text in files.items():
            stem, _, suffix = name.rpartition("_")
            (self.dynamic / f"{stem}.{suffix}").write_text(text)

    def read(self) -> Reading[Configuration]:
        """As the agent reads them."""
        return read_traefik(self.static)

    def noted(self) -> list[tuple[str, int | None]]:
        """(file, line) of everything that could not be used."""
        return [(Path(one.file).name, one.line) for one in self.read().unreadable]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """One with two entry points and an empty folder."""
    return House(tmp_path)


def _case(name: str, tmp_path: Path) -> Path:
    """The case's static file, its paths led into the copy."""
    tree = Tree.of_case(name, tmp_path)
    for path in tree.root.rglob("traefik.*"):
        path.write_text(path.read_text().replace("/etc/traefik", str(tree.root / "etc/traefik")))
    (static,) = (path for path in tree.root.rglob("traefik.*"))
    return static


@pytest.mark.parametrize(
    ("case", "names", "renews_itself"),
    [
        ("09-traefik-merge-keys", {"wiki.home.test"}, False),
        ("10-traefik-lowercase", {"wiki.home.test", "git.home.test"}, True),
        ("11-traefik-filename", {"wiki.home.test"}, False),
        ("12-traefik-toml", {"wiki.home.test"}, False),
        ("14-traefik-templates", set(), False),
        ("16-traefik-null-routers", {"git.home.test"}, False),
        (
            "34-traefik-more",
            {"a.home.test", "b.home.test", "wiki.home.test", "home.test", "*.home.test", "mq.home.test"},
            False,
        ),
    ],
)
def test_a_case_is_found(case: str, names: set[str], renews_itself: bool, tmp_path: Path) -> None:
    """The names that its rules take, none that they exclude, none of a template; and who renews."""
    static = _case(case, tmp_path)
    provider = find_traefik((static,))
    assert provider is not None
    assert (set(provider.names), provider.has_own_acme) == (names, renews_itself)
    assert list(dangling(read_traefik(static).value)) == []


@pytest.mark.parametrize("case", [path.name for path in sorted(CASES.iterdir()) if "traefik" in path.name])
def test_lint_has_nothing_against_a_good_configuration(case: str, tmp_path: Path) -> None:
    """Whatever its form."""
    document = Tree.of_case(case, tmp_path).document("lint")
    assert [finding["code"] for finding in document["findings"] if finding["code"].startswith("deploy.")] == []
    (static,) = (path for path in tmp_path.rglob("traefik.*") if path.is_file())
    assert document["gateways"] == [f"/{static.relative_to(tmp_path)}"]


def test_null_providers_are_none(tmp_path: Path) -> None:
    """Everything below `providers:` is commented out."""
    assert find_traefik((_case("15-traefik-null-providers", tmp_path),)) is None


def test_labels_alone_are_not_made_up(tmp_path: Path) -> None:
    """A compose file is nothing that Traefik reads."""
    tree = Tree.of_case("50-docker-labels-only", tmp_path)
    assert tree.document("lint")["gateways"] == []


def test_a_template_is_said_with_its_line(tmp_path: Path) -> None:
    """The rule that could not be read; the rest of the file counts."""
    reading = read_traefik(_case("14-traefik-templates", tmp_path))
    assert [(Path(one.file).name, one.line) for one in reading.unreadable] == [("apps.yml", 5)]
    assert [router.name for router in reading.value.routers] == ["wiki"]


def test_other_providers_are_recognised(house: House) -> None:
    """By the static file; what Traefik itself counts among the providers is none."""
    house.configure(STATIC + "  docker: {exposedByDefault: false}\n  providersThrottleDuration: 2\n  swarm: false\n")
    assert find_other_providers((house.static,)) == ("docker",)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("apps_yml: http: [", 1),
        ("apps_yml: http: {routers: {}}", 1),
        ("apps_yml: a: 1\nhttp:\n  routers:\n    x:\n", 3),
        ("apps_yml: http:\n  routers:\n    x: {rule: a, rule: b}\n", 3),
        ("apps_yml: http:\n  routers: hello\n", 2),
        ("apps_yml: a: 1\n<<: [1]\n", 2),
        ("apps_yml: a: 1\nb: [\n", 2),
        ("apps_yml: a: 1\nb: *secret\n", 2),
        ("apps_yml: token: 1\ntoken: secret\n", 2),
        ("apps_yml: \n" + "[{" * 5000, 2),
        ("apps_yml: " + "- " * 50_000, 1),
        ("apps_yml: - a list\n", 1),
        ("apps_yml: a: \x07\n", 1),
        ("apps_toml: [http]\na = \n", 2),
        ("apps_toml: [http]\n\n[http]\n", 3),
    ],
)
def test_a_file_that_traefik_refuses_is_said(house: House, more: str, line: int) -> None:
    """With its line; then none of the provider's files counts, and that is why there is no router."""
    name, _, text = more.partition(": ")
    house.write(challenge_yml=CHALLENGE, **{name: text})
    assert house.noted() == [(name.replace("_", "."), line)]
    assert "secret" not in house.read().unreadable[0].reason
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    assert look.place is not None
    assert (look.action, look.target, Path(look.place.file).name, look.place.line) == (
        *(ServerAction.ANSWERS, "404"),
        *(name.replace("_", "."), line),
    )


@pytest.mark.parametrize(
    "text",
    [
        "http: {routers: {a: [1], b: hello, c: 3, d: null, e: {rule: [x], entryPoints: {x: y}, service: {}}}}",
        "http: {services: {a: 3, b: {loadBalancer: {servers: {x: 1}}}, c: {weighted: {services: [1, null, {}]}}}}",
        "http: {middlewares: {a: null, b: [], c: {chain: {middlewares: {x: y}}}, d: {headers: [1]}}}",
        "tcp: {routers: {a: {rule: null, service: [1]}}, services: []}\n",
        "tls: {certificates: hello, stores: [1]}\n",
        "- 1\n- 2\n",
        "hello",
        "? [a, b]\n: c\n",
        "a: &a [*a]\nhttp: {routers: *a}\n",
        "a: &a {<<: *a, b: *a}\nhttp: *a\n",
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
        "[" * 900 + "]" * 900,
        "---\n...\n---\nhttp: {}\n",
        "http: !!python/object:os.system {routers: {a: {rule: x}}}",
    ],
)
def test_nothing_in_a_file_ends_the_reading(house: House, text: str) -> None:
    """Null, wrong types, anchors that lead back, bombs, depth: a value comes, and every question has an answer."""
    house.write(odd_yml=text, good_toml="[http.routers.ok]\nrule = 'Host(`ok.test`)'\nservice = 'noop@internal'\n")
    configuration = house.read().value
    assert "ok" in [router.name for router in configuration.routers]
    traefik_routing.judge(configuration, NAME)
    list(dangling(configuration))
    provider = find_traefik((house.static,))
    assert provider is not None
    assert "ok.test" in provider.names
    ConfiguredCertificates(house.root / "none", (house.static,)).pairs()


@pytest.mark.parametrize(
    "text",
    [
        "providers: hello\nentryPoints: [1, 2]\n",
        "providers: {file: hello, docker: [1]}\nentryPoints: {web: 3, x: {address: [1]}}\n",
        "providers: {file: {directory: [a]}}\nentryPoints: null\napi: [1]\ncore: 3\n",
        "certificatesResolvers: [a]\nentryPoints: {web: {address: ':80', http: 3}}\n",
        "certificatesResolvers: {a: {acme: 3}, b: null}\n",
        "entryPoints: {web: {address: ':80', http: {redirections: {entryPoint: [1]}, middlewares: {a: b}}}}\n",
        "",
        "\x00\x01",
        "a: [",
    ],
)
def test_nothing_in_the_static_file_ends_the_reading(house: House, text: str) -> None:
    """Nor there."""
    house.configure(text)
    traefik_routing.judge(house.read().value, NAME)
    find_traefik((house.static,))
    ConfiguredCertificates(house.root / "none", (house.static,)).resolvers()


def test_merge_keys_multiply_within_bounds(house: House) -> None:
    """A thousand tables, each merging all before it, are refused by us and noted."""
    text = "a0: &a0 {k0: 1}\n" + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 1500))
    house.write(bomb_yml=text)
    assert house.noted() == [("bomb.yml", None)]
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    assert look.action is ServerAction.UNKNOWN


def test_what_is_too_large_or_no_file_is_noted(house: House) -> None:
    """And a folder that links to itself is read once."""
    house.write(large_yml="a: 1\n" * 300_000, good_yml=CHALLENGE)
    (house.dynamic / "gone.yml").symlink_to(house.dynamic / "nowhere")
    (house.dynamic / "loop").symlink_to(house.dynamic)
    (house.dynamic / "latin.yml").write_bytes(b"a: 1\nb: \xe4\n")
    os.mkfifo(house.dynamic / "pipe.yml")
    assert house.noted() == [("large.yml", None), ("latin.yml", 2), ("pipe.yml", None)]


def test_values_stand_at_their_own_lines(house: House) -> None:
    """Of an anchor, of a merge key, of an alias: where the value is written."""
    house.write(
        apps_yml="a: 1\nx-name: &name nobody\nx-base: &base\n  entryPoints:\n    - web\n    - lost\n  service: gone\n"
        "http:\n  routers:\n    a:\n      <<: *base\n      rule: Host(`a.test`)\n"
        "    b: {rule: 'Host(`b.test`)', service: *name}\n"
    )
    first, second = dangling(house.read().value)
    assert (first.place.line, first.place.text, second.place.line) == (7, "service: gone", 2)


def test_toml_has_lines_too(tmp_path: Path) -> None:
    """Of headers, keys, list items, inline tables, whatever strings and comments stand between."""
    file = tmp_path / "a.toml"
    file.write_text(
        '# one\ntext = """\n[no.header]\nx = 1\n""" # [no]\n[a."b.c"]\nlist = [ 1, # [2]\n  "two",\n'
        "  {in = 'line'},\n]\nd.e = 'x=[y]'\n[[t]]\nn = 1\n[[t.sub]]\nm = 2\n[[t]]\nn = true\n"
    )
    node = load_node(file, Notes())
    items = node.get("A", "B.C", "list").items()
    assert [item.line for item in items] == [7, 8, 9]
    assert (items[2].get("in").line, node.get("a", "b.c", "d", "e").line) == (9, 11)
    first, second = node.get("t").items()
    assert (first.get("n").line, first.get("sub").items()[0].get("m").line) == (13, 15)
    assert (second.line, second.get("n").line, second.get("n").is_on()) == (16, 17, True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (STATIC.replace("entryPoints", "ENTRYPOINTS").replace("providers", "Providers"), "traefik.yaml"),
        ('[entrypoints.web]\naddress = "0.0.0.0:80/tcp"\n[providers.file]\nDirectory = "DYNAMIC"\n', "traefik.toml"),
        ("entryPoints: {web: {address: '[::]:80'}}\nproviders: {file: {filename: DYNAMIC/challenge.yml}}\n", "t.yml"),
    ],
)
def test_the_same_configuration_in_other_forms(house: House, text: str, name: str) -> None:
    """Keys without case, TOML, one file instead of a folder."""
    house.write(challenge_yml=CHALLENGE)
    house.configure(text, name)
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    assert (look.action, look.target) == (ServerAction.PASSES, "http://127.0.0.1:5002")


def test_the_file_providers_files(house: House) -> None:
    """Folders in it, hidden ones too, by their names; three suffixes, in any case; nothing behind a linked folder."""
    for path in ("b.yml", "a/z.toml", ".hidden/x.yaml", "UPPER.YML", "c.json", "d.yml~", "e.yml.bak"):
        file = house.dynamic / path
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    (house.root / "else").mkdir()
    (house.root / "else" / "no.yml").write_text("")
    (house.dynamic / "linked").symlink_to(house.root / "else")
    (house.dynamic / "link.yml").symlink_to(house.root / "else" / "no.yml")
    notes = Notes()
    found = provider_files(house.static, load_static(house.static, notes), notes)
    shown = [str(path.relative_to(house.dynamic)) for path in found]
    assert shown == [".hidden/x.yaml", "UPPER.YML", "a/z.toml", "b.yml", "link.yml"]


REDIRECTION = STATIC.replace(
    '":80"\n',
    '":80"\n    http:\n      redirections:\n        entryPoint:\n          to: websecure\n          scheme: https\n',
)


def test_an_entry_points_redirection_is_the_culprit(house: House) -> None:
    """It comes before every router, certagent's own correct one too; `priority: 1` there lets that one win."""
    house.write(challenge_yml=CHALLENGE)
    house.configure(REDIRECTION)
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    place = Place(file=str(house.static), line=6, text="entryPoint:")
    assert (look.action, look.place, look.entry_point, look.causes) == (ServerAction.REDIRECTS, place, "web", ())
    house.configure(REDIRECTION.replace("scheme: https\n", "scheme: https\n          priority: 1\n"))
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    assert (look.action, look.target) == (ServerAction.PASSES, "http://127.0.0.1:5002")


@pytest.mark.parametrize("status", [301, 308])
def test_the_redirection_leads_the_verdict(house: House, status: int) -> None:
    """Its line first of all, with the way out; nothing of certagent's own file."""
    house.write(challenge_yml=CHALLENGE)
    house.configure(REDIRECTION)
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    hops = (make_hop(OWN, status), make_hop(OWN, 404))
    evidence = msgspec.structs.replace(make_evidence(make_resolution(), *hops, passed=False), gateways=(look,))
    first = conclude(evidence)[0]
    assert first.culprit is not None
    assert (first.code, first.culprit.node, first.culprit.file, first.culprit.line) == (
        *("http01.redirect_broken", NODE, str(house.static), 6),
    )
    assert "priority: 1" in (first.fix or "")
    assert all(f.culprit is None or "challenge.yml" not in (f.culprit.file or "") for f in conclude(evidence))


def test_traefiks_certificates_and_default_certificate_are_found(tmp_path: Path) -> None:
    """Of `tls.certificates` and of the stores."""
    found = ConfiguredCertificates(tmp_path / "none", (_case("34-traefik-more", tmp_path),)).pairs().value
    assert [pair.certificate for pair in found] == ["/etc/ssl/own/wiki.crt", "/etc/ssl/own/default.crt"]


@pytest.mark.parametrize(
    ("kind", "inner", "last"),
    [
        ("middlewares", "chain: {{middlewares: [n{0}, n{0}]}}", "compress: {}"),
        (
            "services",
            "weighted: {{services: [{{name: n{0}}}, {{name: n{0}}}]}}",
            "loadBalancer: {servers: [{url: 'http://a'}]}",
        ),
    ],
)
def test_what_doubles_with_every_step_is_followed_within_bounds(house: House, kind: str, inner: str, last: str) -> None:
    """A chain of chains, a service of services: forty steps of two each."""
    steps = [f"n{number}: {{{inner.format(number + 1)}}}" for number in range(40)]
    router = "z: {rule: 'PathPrefix(`/`)', service: n0, middlewares: [n0]}"
    other = "services: {n0: {loadBalancer: {servers: [{url: 'http://a'}]}}}"
    other = other if kind == "middlewares" else "middlewares: {n0: {compress: {}}}"
    house.write(
        odd_yml=f"http: {{routers: {{{router}}}, {other}, {kind}: {{{', '.join([*steps, f'n40: {{{last}}}'])}}}}}"
    )
    began = time.process_time()
    look = traefik_routing.judge(house.read().value, NAME)
    assert look is not None
    assert look.action is (ServerAction.UNKNOWN if kind == "middlewares" else ServerAction.PASSES)
    assert time.process_time() - began < 2


def test_traefik_is_proven_at_its_own_ports(house: House) -> None:
    """Of the entry points that a router for TLS is on."""
    house.configure(STATIC.replace(":443", ":8443"))
    house.write(a_yml="http: {routers: {a: {entryPoints: [websecure], rule: 'Host(`a.test`)', tls: {}}}}")
    (draft,) = drafts_of((), find_traefik((house.static,)), (), ("10.0.0.12",))
    assert (draft.prove, draft.names) == (("10.0.0.12:8443",), ("a.test",))


def test_an_entry_points_names_are_the_certificates_and_wildcards_stand_apart(house: House) -> None:
    """The plain names are managed by http-01; the wildcard is watched."""
    domains = "\n    http: {tls: {domains: [{main: Home.test, sans: ['*.home.test']}]}}"
    house.configure(STATIC.replace('address: ":443"', f'address: ":443"{domains}'))
    house.write(a_yml="http: {routers: {a: {entryPoints: [websecure], rule: 'Host(`a.test`)', tls: {}}}}")
    plain, wild = drafts_of((), find_traefik((house.static,)), (), ("10.0.0.12",))
    assert (plain.name, plain.names, plain.is_managed, plain.challenge) == (
        "traefik",
        ("a.test", "home.test"),
        True,
        "http-01",
    )
    assert (wild.name, wild.names, wild.is_managed, wild.challenge) == (
        "traefik-wildcards",
        ("*.home.test",),
        False,
        "dns-01",
    )


def test_init_says_what_traefik_needs(tmp_path: Path) -> None:
    """The challenge's router on the real plain entry point, the redirection in its way, the other providers."""
    tree = Tree(tmp_path)
    folder = tmp_path / "etc/traefik"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "traefik.toml").write_text(
        '[entryPoints.http]\naddress = ":80"\n[entryPoints.http.http.redirections.entryPoint]\nto = "https"\n'
        '[entryPoints.https]\naddress = ":443"\n[providers.docker]\n[providers.file]\n'
        'directory = "/etc/traefik/conf.d"\n'
    )
    (folder / "conf.d" / "a.toml").write_text("[http.routers.a]\nrule = 'Host(`a.home.test`)'\nservice = 'x'\n")
    document = tree.document("init", "--directory", "https://127.0.0.1:1/acme/acme/directory")
    assert "Traefik's file provider reads /etc/traefik/conf.d, its routers name a.home.test" in document["found"]
    assert "Traefik takes routers from docker as well; certagent does not read those" in document["found"]
    assert [one for one in document["by_hand"] if "http.http.redirections.entryPoint set priority: 1" in one]
    (router,) = (one["content"] for one in document["changes"] if one["file"].endswith("certagent-challenge.yml"))
    assert 'entryPoints: ["http"]' in router

"""Secrets are taken out of what is told, and nothing else is."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certagent.config.policy_files import load_policy
from certagent.domain import findings
from certagent.domain.findings import WITHHELD, Culprit, Finding, Vantage, redact, without_secrets
from certagent.domain.reports import FileChange
from tests.bounds import at_most

CANARY = "c4nary-Kx9"
_WORDS = ("pass", "word", "wd", "phrase", "ed", "SECRET", "api", "access", "Private", "auth", "Client", "Key", "token")
_MARKS = ("authorization", "$2y$", "$5$", "-----BEGIN EC PRIVATE KEY-----", "//", "@", *'=: _-"\\')
_PIECES = (*_WORDS, *_MARKS, "bearer", "abc1", "9", "a", "\n", "\u017f", "\u212a", "\u0131")


@pytest.mark.parametrize(
    "line",
    [
        f"Environment=HTTP_PROXY=http://agent:{CANARY}@10.0.0.50:3128",
        f"proxy_pass https://{CANARY}@10.0.0.12/;",
        f'proxy_set_header Authorization "Basic {CANARY}==";',
        f"proxy_set_header Authorization 'Bearer {CANARY}';",
        f"proxy_set_header X-Api-Key {CANARY};",
        f"ssl_password={CANARY}",
        f'password: "{CANARY}"',
        f"client_secret = '{CANARY}'",
        f"10.0.0.153 traefik # db passwd: {CANARY}",
        f"- admin:$apr1${CANARY.replace('-', '')}$x.y/z",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
    ],
)
def test_a_secret_of_a_line_is_withheld_wherever_the_line_is_quoted(line: str) -> None:
    """In the culprit, the explanation, the fix, deep in the evidence; the value keeps its type."""
    finding = Finding(
        code="ca.uses_proxy",
        vantage=Vantage.AUTHORITY,
        reporter="lxc103",
        explanation=f"It says {line}",
        culprit=Culprit(node="lxc103", file="/etc/x", line=3, text=line),
        fix=f"Remove: {line}",
        detail={"lines": [{"text": line}]},
    )
    told = without_secrets(finding)
    text = str(msgspec.to_builtins(told))
    assert CANARY not in text
    assert CANARY.replace("-", "") not in text
    assert text.count(WITHHELD) >= 4
    assert (told.code, told.culprit.line if told.culprit else None) == ("ca.uses_proxy", 3)
    assert without_secrets(told) == told
    assert CANARY not in str(load_policy(None).grade(finding))


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.153 traefik.internal.thinkheads.ai",
        "Remove line 9 of /etc/hosts on lxc103: 10.0.0.153 traefik.internal.thinkheads.ai",
        "port 80: answers 301 to https://traefik.internal.thinkheads.ai/.well-known/acme-challenge/wJ65N0-j0NAWtm",
        "the CA asked, and the token did not come: nginx answered 404",
        "a secret that nobody knows; pass the challenge on; basic settings",
        "ssl_certificate_key /etc/nginx/ssl/gateway.key;",
        "/etc/certagent/token can be read by others; chmod 600 it",
        "Environment=HTTP_PROXY=http://10.0.0.50:3128",
        "the collector refuses us (401: a valid token is needed: Authorization: Bearer ...): whether it gets through",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    """An explanation is of no use with holes in it."""
    assert redact(text) == text


@pytest.mark.parametrize("last", ["pass only.", "it has no secret", 'a "pass" alone'])
def test_what_stands_in_the_next_string_makes_no_secret_of_a_word(last: str) -> None:
    """The digits of an address, say: they are looked for in the same word."""
    change = FileChange(file="/etc/hosts", exists=True, added=(last, "10.0.0.153"), removed=())
    assert without_secrets(change) == change


def test_a_digit_anywhere_in_the_word_makes_it_a_secret() -> None:
    """Behind a sign that ends what is taken out, too."""
    assert redact("db passwd hunter&2x") == f"db passwd {WITHHELD}&2x"


def test_a_key_that_was_pasted_line_by_line_is_withheld_whole() -> None:
    """As a change of a file reports it; what stands around it, and what only looks like it, stays."""
    body = [f"# MIGHAgEAMBMGByqGSM49AgEG{CANARY.replace('-', '')}", "# AwEHBG0wawIBAQQg="]
    lines = ("127.0.0.1 localhost", "# -----BEGIN EC PRIVATE KEY-----", *body, "# -----END EC PRIVATE KEY-----", "abc")
    told = without_secrets(
        FileChange(file="/etc/hosts", exists=True, added=lines, removed=("-----BEGIN PRIVATE KEY-----",))
    )
    assert told.added == ("127.0.0.1 localhost", f"# {WITHHELD}", "# -----END EC PRIVATE KEY-----", "abc")
    assert told.removed == (WITHHELD,)
    assert told.file == "/etc/hosts"
    culprit = Culprit(node="lxc103", text="-----BEGIN PRIVATE KEY-----", address="abc")
    assert without_secrets(culprit) == Culprit(node="lxc103", text=WITHHELD, address="abc")


def test_a_report_full_of_beginnings_costs_little() -> None:
    """Linear, whatever an agent sends."""
    with at_most(seconds=5, mebibytes=64):
        redact('["' + '","'.join(["-----BEGIN PRIVATE KEY-----", "A" * 40] * 20_000) + '":')
        redact('["' + '","'.join(["-----BEGIN PRIVATE KEY-----"] * 40_000))


@pytest.mark.slow
@settings(max_examples=2000)
@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_what_is_only_looked_for_quickly_is_found_all_the_same(text: str) -> None:
    """The quick look never passes what the pattern would take out."""
    assert redact(text) == findings._SECRETS.sub(findings._withhold, text)


@pytest.mark.parametrize("joint", ["", "-", "_"])
@pytest.mark.parametrize("kind", ["api", "access", "private"])
def test_a_key_is_withheld_however_its_name_is_written(kind: str, joint: str) -> None:
    """Alone in its text, so that no other word makes anybody look."""
    for name in (f"{kind}{joint}key", f"{kind}{joint}key".upper()):
        assert CANARY not in redact(f"{name}={CANARY}")

"""The commented configuration that `certagent init` writes, part by part. Text only: it looks at no machine."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from certagent.vantage.acme_clients import is_coded
from certagent.vantage.imported_renewals import ImportedRenewal

LISTEN = "127.0.0.1:5002"

_HEAD = """\
# /etc/certagent/agent.toml, as `certagent init` found this container. Read it, complete it, then:
#   systemctl restart certagent-agent && certagent check
[agent]
name = {name}

[authority]
directory = {directory}
root = {root}{remark}
addresses = []                                 # the CA's address, for when DNS is broken

# [collector]                                  # where reports go, and who brokers rehearsals
# url = "https://collector.example:8843"
# addresses = ["10.0.0.104"]
# token_file = "/etc/certagent/token"          # from `certagent token add {bare}` on the collector's node

[dns]
nameservers = {nameservers}
zones = []                                     # the zones that are the fleet's own
"""
_DNS_SOLVER = 'solver = { kind = "rfc2136", server = "...", key_name = "...", key_file = "..." }'
_SOLVER = f'solver = {{ kind = "listener", listen = "{LISTEN}" }}'


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as it is proposed. `file`: what its service reads now, or Traefik's folder. `target`: lines.

    `renewer`: who renews it now, as `evidence` shows; `watched_because`: why it is only watched although nobody does.
    `key`: its kind, where that is not the default. `remarks`: what is left out, and why.
    """

    name: str
    names: tuple[str, ...]
    file: Path
    target: tuple[str, ...]
    prove: tuple[str, ...]
    challenge: str = "http-01"
    key: str | None = None
    renewer: str | None = None
    evidence: Path | None = None
    watched_because: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_managed(self) -> bool:
        """Whether certagent is to renew it."""
        return self.renewer is None and self.watched_because is None


def quoted(value: object) -> str:
    """JSON's strings and lists of strings are TOML's."""
    return json.dumps(str(value) if isinstance(value, Path) else value)


def comment(text: str) -> str:
    """One line, whatever stands in it."""
    return "# " + "".join(character if character.isprintable() else " " for character in text)


def head(name: str, directory: str, root: Path, fingerprint: str | None, nameservers: Sequence[str]) -> str:
    """Everything before the certificates. `fingerprint` None: the root is not there yet."""
    remark = (
        f"\n# compare with the CA's own: sha256 {fingerprint}"
        if fingerprint
        else "        # not there yet: copy the CA's root certificate to this path"
    )
    return _HEAD.format(
        name=quoted(name),
        bare=name,
        directory=quoted(directory),
        root=quoted(root),
        remark=remark,
        nameservers=quoted(list(nameservers)),
    )


def certificate(draft: Draft) -> str:
    """One certificate with one target. Where somebody else renews it, it is only watched, and how to take it over
    stands beside."""
    solver = _DNS_SOLVER if draft.challenge == "dns-01" else _SOLVER
    lines = ["", *(comment(f"Left out: {remark}.") for remark in draft.remarks), "[[certificate]]"]
    lines += [f"name = {quoted(draft.name)}", f"identifiers = {quoted(list(draft.names))}"]
    if draft.is_managed:
        lines += ["manage = true", f'challenge = "{draft.challenge}"', solver]
        lines += [f'key = "{draft.key}"'] if draft.key is not None else []
    else:
        lines += [*_watched(draft), f"# {solver}"]
        lines += [f'challenge = "{draft.challenge}"'] if draft.challenge != "http-01" else []
        lines += [f'# key = "{draft.key}"'] if draft.key is not None else []
    return "\n".join([*lines, "", "[[certificate.deploy]]", *draft.target, f"prove = {quoted(list(draft.prove))}", ""])


def _watched(draft: Draft) -> list[str]:
    if draft.renewer is None:
        return [f"manage = false                                 {comment(draft.watched_because or '')}"]
    return [
        f"manage = false                                 {comment(f'{draft.renewer} renews it: watched only')}",
        comment(f"(see {draft.evidence}). To take it over, end {draft.renewer}'s renewals, have the service read"),
        "# the pair from a folder of its own that is named below, set this to true, and have the agent answer:",
    ]


def target_of(renewal: ImportedRenewal, *, is_nginx: bool) -> tuple[list[str], list[str]]:
    """(the target of a renewal that is imported, what is left out of it): nginx's where its files name the pair, else a
    command."""
    lines = [
        f"kind = {quoted('nginx' if is_nginx else 'command')}",
        f"certificate = {quoted(renewal.certificate)}",
        f"key = {quoted(renewal.key)}",
    ]
    left_out = []
    lines += [f"owner = {quoted(renewal.owner)}"] if renewal.owner else []
    lines += [f"group = {quoted(renewal.group)}"] if renewal.group else []
    if renewal.mode is not None and (renewal.mode & 0o007 or not renewal.mode & 0o400):
        left_out.append(f"the key's mode 0o{renewal.mode:o}, which everybody could read it with, or not even its owner")
    elif renewal.mode is not None:
        lines.append(f"mode = 0o{renewal.mode:o}")
    if renewal.command and not is_nginx:
        lines.append(f"command = {quoted(list(renewal.command))}")
    if renewal.hook:
        why = "cannot be decoded: put what it means" if is_coded(renewal.hook) else "needs a shell: put it"
        lines.append(f"# {quoted(renewal.hook)} {why} in a script, and name that in `command`")
    return lines, left_out

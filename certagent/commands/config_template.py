"""The commented configuration that `certagent init` writes, part by part. Text only: it looks at no machine."""

import json
from collections.abc import Sequence
from pathlib import Path

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


def quoted(value: object) -> str:
    """JSON's strings and lists of strings are TOML's."""
    return json.dumps(str(value) if isinstance(value, Path) else value)


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


def certificate(
    name: str,
    names: Sequence[str],
    target: Sequence[str],
    prove: Sequence[str],
    renewer: str | None,
    challenge: str = "http-01",
) -> str:
    """One certificate with one target. `renewer`: who renews it now; then it is only watched, and how to take it over
    stands beside."""
    solver = _DNS_SOLVER if challenge == "dns-01" else _SOLVER
    lines = ["", "[[certificate]]", f"name = {quoted(name)}"]
    lines.append(f"identifiers = {quoted(list(names))}" + ("" if names else "   # no name was found"))
    if renewer is None:
        lines += ["manage = true", f'challenge = "{challenge}"', solver]
    else:
        lines += [
            f"manage = false                                 # {renewer} renews it: watched only. To take it over, end",
            f"# {renewer}'s renewals, set this to true, and have the agent answer the challenges:",
            f"# {solver}",
        ]
        lines += [f'challenge = "{challenge}"'] if challenge != "http-01" else []
    return "\n".join([*lines, "", "[[certificate.deploy]]", *target, f"prove = {quoted(list(prove))}", ""])


def target_of(renewal: ImportedRenewal, *, is_nginx: bool) -> list[str]:
    """The target of a renewal that is imported: nginx's where its files name the pair, else a command."""
    lines = [
        f"kind = {quoted('nginx' if is_nginx else 'command')}",
        f"certificate = {quoted(renewal.certificate)}",
        f"key = {quoted(renewal.key)}",
    ]
    lines += [f"owner = {quoted(renewal.owner)}"] if renewal.owner else []
    lines += [f"group = {quoted(renewal.group)}"] if renewal.group else []
    lines += [f"mode = 0o{renewal.mode:o}"] if renewal.mode is not None else []
    if renewal.command and not is_nginx:
        lines.append(f"command = {quoted(list(renewal.command))}")
    if renewal.hook:
        lines.append(f"# {quoted(renewal.hook)} needs a shell: put it in a script, and name that in `command`")
    return lines

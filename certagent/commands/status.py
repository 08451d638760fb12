"""`certagent status`: certificates as they are on disk and as they are served, by the running agent."""

from datetime import datetime
from typing import Any

from certagent.commands.finding_output import hint_for, lines_of, moment, short, status_of
from certagent.config import AgentSettings
from certagent.system.control_client import ask_agent


def status(settings: AgentSettings) -> dict[str, Any]:
    """`{"agent", "at", "certificates": [CertificateState], "reports_waiting", "findings": [Finding]}`: findings about
    what is served and on disk, and about the agent itself, worst first."""
    return ask_agent(settings.agent.socket, "status")


def exit_status(document: dict[str, Any]) -> int:
    """4 when a certificate has expired, its last run was blocked or failed, or there are findings of `error` and above;
    3 when one is missing or served otherwise than it lies on disk, or with warnings; else 0."""
    statuses = (_status_of(certificate, document["at"]) for certificate in document["certificates"])
    return max(status_of(document["findings"]), *statuses, 0)


def render(document: dict[str, Any]) -> str:
    """For a person: each certificate, who issued it, and what is served at each address."""
    lines = [f"agent {document['agent']}, {document['reports_waiting']} reports waiting"]
    for certificate in document["certificates"]:
        on_disk = certificate["on_disk"]
        life = "EXPIRED" if _is_expired(certificate, document["at"]) else "valid until"
        until = f"{life} {_end_of(on_disk)}{_due(certificate)}" if on_disk else "no certificate yet"
        lines.append(f"{certificate['name']} ({', '.join(certificate['identifiers'])}): {until}; {_last(certificate)}")
        lines += served_lines(certificate)
    lines += [line for finding in document["findings"] for line in lines_of(finding)]
    return "\n".join([*lines, *hint_for(document["findings"])])


def served_lines(certificate: dict[str, Any]) -> list[str]:
    """Who issued what lies on disk, and what each address serves."""
    on_disk = certificate["on_disk"]
    lines = [f"  issued by {on_disk['issuer']}; fingerprint {short(on_disk['fingerprint'])}"] if on_disk else []
    for endpoint, fingerprint in certificate["served"].items():
        same = on_disk is not None and fingerprint == on_disk["fingerprint"]
        serves = "this certificate" if same else f"another one: {short(fingerprint)}" if fingerprint else "nothing"
        trust = " (trust unverified)" if endpoint in certificate.get("unverified", ()) else ""
        lines.append(f"  {endpoint} serves {serves}{trust}")
    return lines


def _last(certificate: dict[str, Any]) -> str:
    if not certificate["manage"]:
        return "only watched, not renewed by certagent"
    outcome = certificate["last_outcome"]
    return f"renewed by certagent, last outcome: {outcome}" if outcome else "renewed by certagent, no outcome yet"


def _status_of(certificate: dict[str, Any], at: str) -> int:
    has_failed = certificate["manage"] and certificate["last_outcome"] in ("blocked", "failed")
    if has_failed or _is_expired(certificate, at):
        return 4
    return 0 if _is_served(certificate) else 3


def _is_expired(certificate: dict[str, Any], at: str) -> bool:
    on_disk = certificate["on_disk"]
    ends = [on_disk.get("chain_ends_at"), on_disk["not_after"]] if on_disk is not None else []
    return any(datetime.fromisoformat(end) <= datetime.fromisoformat(at) for end in ends if end)


def _end_of(on_disk: dict[str, Any]) -> str:
    """When the first certificate of the chain ends, and which that is, if it is not the leaf."""
    if not on_disk.get("chain_ends_at"):
        return moment(on_disk["not_after"])
    return f"{moment(on_disk['chain_ends_at'])} (with {on_disk['chain_ends_with']} in its chain)"


def _is_served(certificate: dict[str, Any]) -> bool:
    on_disk = certificate["on_disk"]
    return on_disk is not None and all(served == on_disk["fingerprint"] for served in certificate["served"].values())


def _due(certificate: dict[str, Any]) -> str:
    return f", due {moment(certificate['due_at'])}" if certificate["due_at"] else ""

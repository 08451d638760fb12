"""What the kernel refused, or what an endpoint showed, as a fault that a person can act on."""

import errno
from pathlib import Path

import msgspec

from certagent.config import split_endpoint
from certagent.deployers.target import Target
from certagent.domain.deployments import EndpointProof, Fault, Proof, ServedAs
from certagent.system.files import UnknownOwnerError
from certagent.system.procfs import ProcFs

OVERFLOW_ID = 65534
"""Whom a file belongs to, as it is shown, whose real owner lies outside the container's id map (FACTS)."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


def fault_of(error: OSError | UnknownOwnerError, target: Target) -> Fault:
    """What the disk or the kernel refused."""
    if isinstance(error, UnknownOwnerError):
        fix = "Make the user and the group, or name others in `owner` and `group`."
        return Fault(code="deploy.unmapped_owner", explanation=f"{target.name}: {error}.", fix=fix)
    file = str(error.filename) if error.filename is not None else None
    detail = {"errno": errno.errorcode.get(error.errno or 0, "")}
    foreign = _foreign(Path(file)) if file is not None and error.errno in (errno.EACCES, errno.EPERM) else None
    if foreign is not None:
        return Fault(
            code="deploy.unmapped_owner",
            explanation=f"{target.name}: {foreign} belongs to nobody here, because its owner on the host lies outside"
            " this container's id map; not even root may change it.",
            file=str(foreign),
            fix="On the host, give it to the container's root: chown 100000:100000, with the usual map.",
            detail=detail,
        )
    if error.errno == errno.EINVAL and isinstance(error.filename, int | None):
        return Fault(
            code="deploy.unmapped_owner",
            explanation=f"{target.name}: the configured owner has an id that this container's id map does not hold.",
            fix="Name a user and a group whose ids are below 65536.",
            detail=detail,
        )
    code = "deploy.disk_full" if error.errno in _FULL else "deploy.unwritable"
    shown = f" ({file})" if file else ""
    what = f"{target.name} cannot be written{shown}: {error.strerror or error}."
    return Fault(code=code, explanation=what, file=file, fix=_FIXES.get(error.errno or 0), detail=detail)


_FIXES = {
    errno.ENOSPC: "Make room on that file system; it is tried again by itself.",
    errno.EDQUOT: "Make room within the quota; it is tried again by itself.",
    errno.EROFS: "Mount that file system for writing, or deploy to another folder.",
    errno.ENOENT: "Make the folder, or name another one.",
}


def _foreign(path: Path) -> Path | None:
    """The file, or the folder above it, whose owner this user namespace does not know."""
    if not _is_mapped():
        return None
    for one in (path, path.parent):
        try:
            if one.lstat().st_uid == OVERFLOW_ID:
                return one
        except OSError:
            continue
    return None


def _is_mapped() -> bool:
    """Whether ids here are not the host's."""
    return Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]


_SERVED = {
    ServedAs.OTHER: ("deploy.served_old", "still serves another certificate"),
    ServedAs.DEFAULT: ("deploy.default_certificate", "serves its default certificate, which no client trusts"),
    ServedAs.NOTHING: ("deploy.not_served", "gave no handshake"),
}


def fault_about(seen: EndpointProof, target: Target) -> Fault:
    """An endpoint that does not serve what it should; who listens there, where that can be seen from here."""
    code, what = _SERVED[seen.served_as]
    why = f" ({seen.error}: {seen.detail})" if seen.error else ""
    listener = _listener_at(seen.endpoint)
    who = f" {listener} listens there." if listener else ""
    detail = {key: value for key, value in msgspec.to_builtins(seen).items() if value is not None and key != "leaf"}
    return Fault(
        code=code,
        explanation=f"{target.name}: {seen.endpoint} {what} for {seen.server_name}{why}.{who}",
        address=split_endpoint(seen.endpoint)[0],
        detail=detail | ({"listener": listener} if listener else {}),
    )


def _listener_at(endpoint: str) -> str | None:
    """`nginx (process 51)`; None when it is not on this node, or cannot be seen."""
    address, port = split_endpoint(endpoint)
    proc = ProcFs()
    try:
        is_here = address.startswith("127.") or address == "::1" or address in proc.addresses()
        process = proc.listener(address, port) if is_here else None
    except OSError:
        return None
    return f"{process.name} (process {process.pid})" if process is not None else None


def rolled_back(target: Target, seen: Proof | None) -> Fault:
    """It went back, and what was then seen."""
    if seen is None or not seen.endpoints:
        shown = "and nothing could be looked at to prove it"
    else:
        shown = "and is served again" if seen.is_proven else "but is not seen to be served either"
    return Fault(code="deploy.rolled_back", explanation=f"{target.name}: the pair from before is back, {shown}.")


def unreadable(target: Target, key: Path, reader: str) -> Fault:
    """The service's user cannot get at the key, whatever its mode looks like."""
    return Fault(
        code="deploy.unreadable_by_service",
        explanation=f"{target.name}: the user {reader}, as whom the service reads it, cannot read {key}.",
        file=str(key),
        fix=f"Name a `group` that {reader} is in, or let {reader} pass through the folders above.",
    )

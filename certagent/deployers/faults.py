"""What the kernel refused, or what an endpoint showed, as a fault that a person can act on."""

import errno
from pathlib import Path

import msgspec

from certagent.config import split_endpoint
from certagent.deployers.foreign_folders import ForeignFolderError
from certagent.deployers.target import Target
from certagent.domain.catalogue import Fact
from certagent.domain.deployments import EndpointProof, Fault, Proof, ServedAs
from certagent.system.files import UnknownOwnerError
from certagent.system.procfs import ProcFs
from certagent.system.unsafe_paths import UnsafePathError

OVERFLOW_ID = 65534
"""Whom a file belongs to, as it is shown, whose real owner lies outside the container's id map (docs/facts.md)."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


def fault_of(error: OSError | UnknownOwnerError, target: Target) -> Fault:
    """What the disk or the kernel refused."""
    if isinstance(error, UnknownOwnerError):
        return Fault(code="deploy.unmapped_owner", variant="unknown", facts={"target": target.name, "said": str(error)})
    if isinstance(error, ForeignFolderError):
        return _foreign_folder(error, target)
    if isinstance(error, UnsafePathError):
        return _unsafe_path(error, target)
    file = str(error.filename) if error.filename is not None else None
    detail = {"errno": errno.errorcode.get(error.errno or 0, "")}
    facts: dict[str, Fact] = {"target": target.name, "said": error.strerror or str(error)}
    foreign = _foreign(Path(file)) if file is not None and error.errno in (errno.EACCES, errno.EPERM) else None
    if foreign is not None:
        return Fault(code="deploy.unmapped_owner", facts=facts, file=str(foreign), detail=detail)
    if error.errno == errno.EINVAL and isinstance(error.filename, int | None):
        return Fault(code="deploy.unmapped_owner", variant="outside_map", facts=facts, detail=detail)
    code = "deploy.disk_full" if error.errno in _FULL else "deploy.unwritable"
    return Fault(code=code, variant=_VARIANTS.get(error.errno or 0, ""), facts=facts, file=file, detail=detail)


def _foreign_folder(error: ForeignFolderError, target: Target) -> Fault:
    file, evidence = str(error.filename), str(error.evidence)
    facts: dict[str, Fact] = {"target": target.name, "owner": error.owner, "evidence": evidence}
    return Fault(
        code="deploy.foreign_folder", facts=facts, file=file, detail={"owner": error.owner, "evidence": evidence}
    )


def _unsafe_path(error: UnsafePathError, target: Target) -> Fault:
    found = {"folder": str(error.folder.path), "owner": error.folder.owner, "mode": f"{error.folder.mode:04o}"}
    facts: dict[str, Fact] = {"target": target.name, **found}
    return Fault(
        code="deploy.unsafe_path", variant=error.danger, facts=facts, file=str(error.filename), detail={**found}
    )


_VARIANTS = {errno.EDQUOT: "quota", errno.EROFS: "read_only", errno.ENOENT: "no_folder"}


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
    ServedAs.OTHER: "deploy.served_old",
    ServedAs.DEFAULT: "deploy.default_certificate",
    ServedAs.NOTHING: "deploy.not_served",
}


def fault_about(seen: EndpointProof, target: Target) -> Fault:
    """An endpoint that does not serve what it should; who listens there, where that can be seen from here."""
    if seen.served_as is ServedAs.REFUSED:
        return Fault(
            code="cert.chain_refused",
            variant=seen.distrust or "untrusted",
            facts={
                "target": target.name,
                "endpoint": seen.endpoint,
                "server_name": seen.server_name,
                "said": seen.detail,
            },
            address=split_endpoint(seen.endpoint)[0],
        )
    listener = _listener_at(seen.endpoint)
    detail = {key: value for key, value in msgspec.to_builtins(seen).items() if value is not None and key != "leaf"}
    return Fault(
        code=_SERVED[seen.served_as],
        variant="deployed",
        facts={
            "target": target.name,
            "endpoint": seen.endpoint,
            "server_name": seen.server_name,
            "trouble": seen.error,
            "said": seen.detail,
            "process": listener,
        },
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
    checked = seen is not None and bool(seen.endpoints)
    proven = seen is not None and seen.is_proven
    return Fault(
        code="deploy.rolled_back",
        facts={
            "target": target.name,
            "checked": checked,
            "proven": proven,
            "unproven": checked and not proven,
        },
    )


def unreadable(target: Target, key: Path, reader: str) -> Fault:
    """The service's user cannot get at the key, whatever its mode looks like."""
    facts: dict[str, Fact] = {"target": target.name, "user": reader, "reason": target.reads_because()}
    return Fault(code="deploy.unreadable_by_service", facts=facts, file=str(key))

"""`certagent init --authority`: the configuration of the agent beside the CA, from what the CA's own ca.json says."""

import shlex
from pathlib import Path
from typing import Any

import msgspec

from certagent.commands import init as agent_init
from certagent.commands.config_template import NodeFacts
from certagent.commands.init import Confirm, InitRequest, fingerprint_of
from certagent.system.procfs import ProcFs
from certagent.vantage.ca_facts import PLACES, CaFacts, find_ca_file, read_ca_facts
from certagent.vantage.foreign_files import Reading

ROLE = "authority"


class AuthorityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the person said. `ca_file`: the CA's ca.json (None: looked for); `directory`, `provisioner` and `zones`:
    in place of what stands in it. `node`: what an enrolment brought."""

    root: Path
    configuration: Path
    ca_file: Path | None = None
    directory: str | None = None
    provisioner: str | None = None
    zones: tuple[str, ...] = ()
    node: NodeFacts = NodeFacts()


def init(request: AuthorityRequest, confirm: Confirm, *, write: bool) -> dict[str, Any]:
    """The document of `certagent init`, for the CA's node.

    Raises ValueError when there is no ca.json or it does not say what is needed, and whatever `init` of the agent
    raises.
    """
    file = request.ca_file or find_ca_file(ProcFs())
    if file is None:
        raise ValueError(f"no ca.json was found here ({', '.join(map(str, PLACES))}): give its path with --ca-json")
    reading = read_ca_facts(file)
    if reading.value is None:
        raise ValueError(f"{file} cannot be used: {_reasons(reading) or 'it does not exist'}")
    facts = reading.value
    directory = request.directory or _directory(file, facts, request.provisioner)
    zones = request.zones or request.node.zones or facts.zones()
    node = msgspec.structs.replace(
        request.node,
        role=ROLE,
        ca_addresses=request.node.ca_addresses or agent_init.node_addresses(),
        zones=zones,
        allow=tuple(dict.fromkeys([*(f"*.{zone}" for zone in zones), *facts.allowed])),
    )
    roots = b"".join(facts.roots) or None
    wanted = InitRequest(
        directory=directory, root=request.root, configuration=request.configuration, root_pem=roots, node=node
    )
    different = _different_root(request.root, facts)  # before the file is made
    document = agent_init.init(wanted, confirm, write=write)
    found = f"Step-CA's {file}: {', '.join(facts.names) or 'no name'}; ACME provisioners: {_listed(facts)}"
    document["found"].insert(0, found)
    document["skipped"] += [f"{one.file} cannot be read: {one.reason}" for one in reading.unreadable]
    document["by_hand"] += [*different, *_left_to_a_person(request, facts)]
    if roots is not None:
        fingerprint = fingerprint_of(roots)
        others = f"certagent init --directory {shlex.quote(directory)} --fingerprint {fingerprint}"
        document["next"].append(f"in the other containers, unless they are enrolled: {others}")
    return document


def _directory(file: Path, facts: CaFacts, wanted: str | None) -> str:
    if not facts.names:
        raise ValueError(f"{file} names no host at which the CA is reached (dnsNames): give --directory")
    if wanted is not None and (wanted in facts.provisioners or facts.provisioners_elsewhere):
        return facts.directory(wanted) or ""
    if wanted is not None:
        raise ValueError(f"{file} has no ACME provisioner {wanted!r}; it has {_listed(facts)}")
    if not facts.provisioners:
        where = ", which keeps them in the CA's database" if facts.provisioners_elsewhere else ""
        raise ValueError(f"no ACME provisioner is in {file}{where}: add one (step ca provisioner add), or name it")
    return facts.directory(facts.provisioners[0]) or ""


def _left_to_a_person(request: AuthorityRequest, facts: CaFacts) -> list[str]:
    steps = []
    if len(facts.provisioners) > 1 and request.provisioner is None and request.directory is None:
        chosen, *others = facts.provisioners
        steps.append(f"the provisioner {chosen} was chosen; for another one ({', '.join(others)}): --provisioner NAME")
    if not facts.zones() and not request.zones:
        steps.append(f"in {request.configuration}: complete [vantage] allow and [dns] zones; no domain is known")
    return steps


def _different_root(root: Path, facts: CaFacts) -> list[str]:
    """A root that is there already is left alone, but it has to be the CA's."""
    if not root.exists() or not facts.roots or fingerprint_of(root.read_bytes()) in map(fingerprint_of, facts.roots):
        return []
    return [f"{root} contains a root other than the CA's current one: compare the two (docs/root-rotation.md)"]


def _listed(facts: CaFacts) -> str:
    return ", ".join(facts.provisioners) or "none"


def _reasons(reading: Reading[CaFacts | None]) -> str:
    return "; ".join(one.reason for one in reading.unreadable)

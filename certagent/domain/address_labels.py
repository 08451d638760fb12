"""Whose address it is, in words. Pure."""

import re
from collections.abc import Mapping

from certagent.domain.findings import Finding
from certagent.domain.rehearsals import AddressOwner

_ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,7})(?!\w)")


def addresses_in(finding: Finding) -> set[str]:
    """The IP addresses whose owners the finding's explanation should name."""
    culprit = finding.culprit.address if finding.culprit is not None else None
    return {*_ADDRESS.findall(finding.explanation), *([culprit] if culprit else [])}


def name_owners(text: str, owners: Mapping[str, AddressOwner]) -> str:
    """`text` with the owner behind the first mention of each address: `10.0.0.153 (lxc101, gateway)`."""
    for address, owner in owners.items():
        mention = rf"(?<![\w.:]){re.escape(address)}(?!\w|\.\d|:\d| \()"
        text = re.sub(mention, f"{address} ({describe_owner(owner)})", text, count=1)
    return text


def describe_owner(owner: AddressOwner) -> str:
    """`lxc101, gateway`, or the node alone."""
    return f"{owner.node}, {owner.role}" if owner.role else owner.node

"""What is in a target's package, as a CycloneDX document: certagent, each wheel with its hash, the libraries in it."""

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy.release.checksums import sha256_of
from deploy.release.pinned_wheels import Wheel
from deploy.release.revision import Revision
from deploy.release.targets import Target

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "certagent.release")


def make(revision: Revision, target: Target, certagent: Wheel, wheels: Sequence[Wheel], native: Sequence[Path]) -> str:
    """The document. `native`: the unpacked files with native code."""
    root = _component(certagent, ComponentType.APPLICATION, ())
    parts = [_component(wheel, ComponentType.LIBRARY, _bundled(wheel, native)) for wheel in wheels]
    bom = Bom(components=parts, serial_number=uuid.uuid5(_NAMESPACE, f"{revision.version} {target.name}"))
    bom.metadata.timestamp = datetime.fromtimestamp(revision.epoch, UTC)
    bom.metadata.component = root
    bom.register_dependency(root, parts)
    text = JsonV1Dot6(bom).output_as_string()
    return json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def _component(wheel: Wheel, kind: ComponentType, libraries: Iterable[Path]) -> Component:
    purl = PackageURL("pypi", None, wheel.name.lower().replace("_", "-"), wheel.version)
    return Component(
        name=wheel.name,
        version=wheel.version,
        type=kind,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[_hash(wheel.sha256)],
        licenses=_licenses(wheel.metadata),
        components=[
            Component(
                name=path.name,
                type=ComponentType.FILE,
                bom_ref=f"{purl.to_string()}#{path.name}",
                hashes=[_hash(sha256_of(path))],
            )
            for path in libraries
        ],
    )


def _bundled(wheel: Wheel, native: Sequence[Path]) -> list[Path]:
    """The foreign libraries that a wheel brings along, in `NAME.libs`."""
    folder = f"{wheel.path.name.partition('-')[0]}.libs"
    return [path for path in native if path.parent.name.lower() == folder.lower()]


def _licenses(metadata: Message) -> list[License]:
    said = metadata["License-Expression"] or metadata["License"]
    if not said or "\n" in said:  # some quote the whole text
        classifiers = metadata.get_all("Classifier", [])
        said = next((one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License ::")), None)
    return [LicenseFactory().make_from_string(said)] if said else []


def _hash(sha256: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=sha256)

"""The certificates that `certagent init` proposes: each pair that is found, with all its names, who renews it now, and
where it is proven. Reads certificates and other clients' records; writes nothing.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certagent.commands.config_template import LISTEN, Draft, quoted, target_of, target_of_service
from certagent.config import Endpoint, ProofEndpoint
from certagent.domain.certificates import UNREADABLE, CertificateFacts, read_facts
from certagent.domain.identifiers import flaw_of, is_address, is_wildcard
from certagent.system.regular_files import read_bytes
from certagent.vantage.certificate_owners import CertificateOwner, CertificateOwners
from certagent.vantage.imported_renewals import ImportedRenewal
from certagent.vantage.nginx_pairs import ANY_IPV4, ANY_IPV6, NginxPair
from certagent.vantage.service_pairs import WEB_SERVERS, ServicePair
from certagent.vantage.traefik_config import TraefikProvider

_LARGEST_PAIR = 1024 * 1024
_LOOPBACK = "127.0.0.1"
_MORE_THAN_RSA_2048 = 3072


class _Present(msgspec.Struct, frozen=True):
    """What is at a pair's path now: facts and kind of key, as the settings call it."""

    facts: CertificateFacts | None = None
    key: str | None = None


def drafts_of(
    pairs: Sequence[NginxPair],
    traefik: TraefikProvider | None,
    renewals: Sequence[ImportedRenewal],
    addresses: Sequence[str],
    services: Sequence[ServicePair] = (),
) -> list[Draft]:
    """In the order of what is imported, nginx's pairs, Traefik, other services; each with a name of its own."""
    owners, drafts, left = CertificateOwners(), [], list(pairs)
    for renewal in renewals:
        served = [pair for pair in left if _is_same(pair.certificate, renewal.certificate)]
        left = [pair for pair in left if pair not in served]
        drafts.append(_of_renewal(renewal, served, owners, addresses))
    for index, pair in enumerate(left):
        drafts.append(_of_pair("nginx" if index == 0 else f"nginx-{index + 1}", pair, owners, addresses))
    if traefik is not None:
        drafts += _of_traefik(traefik, addresses)
    known = [draft.file for draft in drafts]
    is_alone = not pairs and traefik is None and not any(one.service in WEB_SERVERS for one in services)
    for service in services:
        if not any(_is_same(service.certificate, file) for file in known):
            drafts.append(_of_service(service, owners, addresses, "0.0.0.0:80" if is_alone else LISTEN))
    return _with_own_names(drafts)


def _of_renewal(
    renewal: ImportedRenewal, served: Sequence[NginxPair], owners: CertificateOwners, addresses: Sequence[str]
) -> Draft:
    endpoints = [endpoint for pair in served for endpoint in pair.endpoints] if served else [f"{ANY_IPV4}:443"]
    present = _present(renewal.certificate)
    found = owners.owner_of(renewal.certificate, renewal.key, present.facts)
    owner = CertificateOwner(renewal.renewer, renewal.source) if renewal.renewer is not None else found
    names, remarks = _good(renewal.identifiers)
    prove, unproven = _proofs(endpoints, addresses)
    target, said = target_of(renewal, is_nginx=bool(served))
    return _watched_where_it_must_be(
        Draft(
            name=renewal.name,
            names=names,
            file=renewal.certificate,
            target=tuple(target),
            prove=prove,
            challenge=renewal.challenge,
            remarks=(*remarks, *said, *unproven),
        ),
        owner,
        is_one_file=renewal.certificate == renewal.key,
    )


def _of_pair(name: str, pair: NginxPair, owners: CertificateOwners, addresses: Sequence[str]) -> Draft:
    present = _present(pair.certificate)
    names, remarks = _good((*pair.names, *(present.facts.identifiers if present.facts is not None else ())))
    if not names:
        remarks = (*remarks, "neither server_name nor the certificate there contains a name")
    prove, unproven = _proofs(pair.endpoints, addresses)
    target = ('kind = "nginx"', f"certificate = {quoted(pair.certificate)}", f"key = {quoted(pair.key)}")
    draft = Draft(
        name=name,
        names=names,
        file=pair.certificate,
        target=target,
        prove=prove,
        key=present.key,
        remarks=(*pair.remarks, *remarks, *unproven),
    )
    owner = owners.owner_of(pair.certificate, pair.key, present.facts)
    return _watched_where_it_must_be(draft, owner, is_one_file=pair.certificate == pair.key)


def _of_service(service: ServicePair, owners: CertificateOwners, addresses: Sequence[str], listen: str) -> Draft:
    """`listen`: port 80 itself where no web server is seen here that could send the challenges on."""
    present = _present(service.certificate)
    names, remarks = _good(present.facts.identifiers if present.facts is not None else ())
    if not names:
        remarks = (*remarks, f"the certificate that {service.service} has there names nothing")
    draft = Draft(
        name=service.service,
        names=names,
        file=service.certificate,
        target=tuple(target_of_service(service)),
        prove=tuple(_spoken_to(service, addresses)),
        listen=listen,
        key=present.key,
        remarks=remarks,
        watched_because=service.only_watched,
    )
    is_one_file = service.certificate == service.key and service.service != "haproxy"
    owner = owners.owner_of(service.certificate, service.key, present.facts)
    return _watched_where_it_must_be(draft, owner, is_one_file=is_one_file, service=service.service)


def _spoken_to(service: ServicePair, addresses: Sequence[str]) -> Iterator[Endpoint]:
    for endpoint in service.endpoints:
        for address in _addressed([endpoint.address], addresses):
            is_plain = endpoint == ProofEndpoint(address=endpoint.address)
            yield address if is_plain else msgspec.structs.replace(endpoint, address=address)


def _of_traefik(traefik: TraefikProvider, addresses: Sequence[str]) -> list[Draft]:
    """One; wildcards apart from the names that http-01 proves, unless Traefik renews all of them anyhow."""
    names, remarks = _good(traefik.names)
    if not names:
        remarks = (*remarks, "no router names a host")
    draft = Draft(
        name="traefik",
        names=names,
        file=traefik.dynamic,
        target=('kind = "traefik"', f"dynamic = {quoted(traefik.dynamic)}"),
        prove=_addressed([f"{ANY_IPV4}:{port}" for port in traefik.tls_ports or (443,)], addresses),
        challenge=traefik.challenge if traefik.has_own_acme else "http-01",
        remarks=remarks,
    )
    owner = CertificateOwner("Traefik's own ACME", traefik.dynamic) if traefik.has_own_acme else None
    parts = [draft] if owner is not None else _without_wildcards(draft)
    return [_watched_where_it_must_be(part, owner, is_one_file=False) for part in parts]


def _without_wildcards(draft: Draft) -> list[Draft]:
    """It and, where it is a mixture, a second one for its wildcards, which cannot be proven likewise."""
    wild = tuple(name for name in draft.names if is_wildcard(name))
    plain = tuple(name for name in draft.names if name not in wild)
    if not wild or not plain:
        return [draft]
    apart = msgspec.structs.replace(draft, name=f"{draft.name}-wildcards", names=wild, remarks=())
    return [msgspec.structs.replace(draft, names=plain), apart]


def _watched_where_it_must_be(
    draft: Draft, owner: CertificateOwner | None, *, is_one_file: bool, service: str = "nginx"
) -> Draft:
    is_wild = any(map(is_wildcard, draft.names))
    challenge = "dns-01" if is_wild else draft.challenge
    watched = draft.watched_because
    if owner is None and is_one_file:
        watched = (
            "certificate and key are in one file, but certagent writes two: split them in "
            f"{service}'s configuration first"
        )
    elif owner is None and is_wild:
        watched = "a wildcard, which only dns-01 can prove: complete the solver below, then set this to true"
    names, remarks = _provable(draft.names, challenge)
    return msgspec.structs.replace(
        draft,
        names=names,
        remarks=(*draft.remarks, *remarks),
        challenge=challenge,
        renewer=owner.name if owner is not None else None,
        evidence=owner.evidence if owner is not None else None,
        watched_because=watched,
    )


def _provable(names: tuple[str, ...], challenge: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(those that the challenge can prove, why the others are left out): no address by dns-01 (RFC 8738 section 7)."""
    addresses = [name for name in names if challenge == "dns-01" and is_address(name)]
    kept = tuple(name for name in names if name not in addresses)
    return kept, tuple(f"{address} is an IP address, which dns-01 cannot prove" for address in addresses)


def _good(identifiers: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(those that a certificate can be for, each once; why the others are left out)."""
    names = dict.fromkeys(name.lower() for name in identifiers if flaw_of(name) is None)
    flaws = {name: flaw_of(name) for name in identifiers}
    return tuple(names), tuple(f"the name {name!r} {flaw}" for name, flaw in flaws.items() if flaw is not None)


def _addressed(endpoints: Iterable[str], addresses: Sequence[str]) -> tuple[str, ...]:
    """Where any address is meant, this node's own; none by IPv6 where this node has no such address."""
    four = [address for address in addresses if ":" not in address] or [_LOOPBACK]
    six = [f"[{address}]" for address in addresses if ":" in address]
    found: list[str] = []
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        is_off = host.startswith("[") and not six
        hosts = four if host == ANY_IPV4 else six if host == ANY_IPV6 or is_off else [host]
        found += [f"{one}:{port}" for one in hosts]
    return tuple(dict.fromkeys(found))


def _proofs(endpoints: Sequence[str], addresses: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(where it is proven, why it is nowhere although nginx listens)."""
    found = _addressed(endpoints, addresses)
    said = "nginx serves it over IPv6 only, but this node has no IPv6 address, so it is not proven"
    return found, (said,) if endpoints and not found else ()


def _present(certificate: Path) -> _Present:
    try:
        leaf = x509.load_pem_x509_certificate(read_bytes(certificate, _LARGEST_PAIR))
        return _Present(read_facts(leaf), _kind_of(leaf.public_key()))
    except (OSError, *UNREADABLE):
        return _Present()


def _kind_of(key: object) -> str | None:
    """None for what is the default anyhow, and for what certagent does not make."""
    if isinstance(key, rsa.RSAPublicKey):
        return "rsa-4096" if key.key_size >= _MORE_THAN_RSA_2048 else "rsa-2048"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1":
        return "ecdsa-p384"
    return "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else None


def _is_same(file: Path, other: Path) -> bool:
    return file == other or os.path.realpath(file) == os.path.realpath(other)


def _with_own_names(drafts: Sequence[Draft]) -> list[Draft]:
    taken: set[str] = set()
    found = []
    for draft in drafts:
        name, number = draft.name, 1
        while name in taken:
            number += 1
            name = f"{draft.name}-{number}"
        taken.add(name)
        found.append(msgspec.structs.replace(draft, name=name))
    return found

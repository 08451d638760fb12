"""The catalogue: pairs that are not good in themselves, that stand beside others, or that were lost. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_AGAIN = "certagent retries automatically."
_REORDER = "then run `certagent renew {certificate} --force`, which orders a new one."


def _rejected(clause: str) -> str:
    return f"The staged {{staged}} is not promoted: {clause}."


ENTRIES = (
    entry(
        "deploy.rival_pair",
        FATAL,
        meaning="Traefik has another pair for the same name, and uses one of the two at random.",
        cause="An entry of `tls.certificates` in one of its dynamic files that certagent did not write.",
        action="Remove that entry, or set `manage = false`.",
        traits=Trait.OWN_INABILITY,
        explanation="{target}: {spot} on {node} gives Traefik another pair for {names}[evidence? ({evidence})]; "
        "each time"
        " it loads its files, it picks one of the two pairs at random.",
        fix="Remove that entry from {spot} on {node}, so that only certagent's is left; or set `manage = false`, "
        "and leave the certificate to whoever added that entry.",
        sample={
            "target": "traefik /etc/traefik/dynamic",
            "file": "/etc/traefik/dynamic/tls.yml",
            "evidence": "/etc/ssl/traefik.crt",
            "node": "lxc102",
        },
    ),
    entry(
        "deploy.put_back",
        WARN,
        meaning="Files of certagent were missing, and it has restored them.",
        cause=(
            "The folder was cleaned or recreated (`git clean`, a role), or a release link was switched to another"
            " release."
        ),
        action="Nothing; stop the program that cleans that folder from deleting them.",
        explanation="{file} was missing: certagent has restored the pair that was proven to be served for "
        "{certificate}.",
        fix="Stop the program that cleans or recreates that folder from deleting {file}, or name another folder "
        "in the target.",
        variants={
            "older": (
                "{file} pointed to an older certificate of certagent, as after switching back to an earlier release: "
                "certagent has restored the pair that was proven to be served for {certificate}.",
                "Stop the program that switches or copies that folder from restoring the old {file}.",
            )
        },
        sample={"file": "/etc/traefik/dynamic/certagent-traefik.yml", "certificate": "traefik"},
    ),
    entry(
        "deploy.pair_mismatch",
        ERROR,
        meaning="Key and certificate do not belong together.",
        cause="Another program writes one of the two.",
        action="Find out what else writes there.",
        explanation=_rejected("the key does not belong to the certificate"),
        fix=f"Find out what else writes the agent's state; {_REORDER}",
        variants={
            "no_pair": ("{file} contains no pair.", f"Find out what else removes files there; {_AGAIN}"),
            "no_key": (
                _rejected("it contains no readable private key: {said}"),
                f"Find out what else writes the agent's state; {_REORDER}",
            ),
            "live": (
                "The live key {file} does not belong to the certificate in {target}: the service cannot start with"
                " them.",
                "Restore the pair: `certagent renew {certificate} --force`, or use whatever renews it.",
            ),
        },
    ),
    entry(
        "deploy.chain_incomplete",
        ERROR,
        meaning="An intermediate certificate is missing.",
        cause="The CA does not send its chain.",
        action="Check the CA's chain.",
        variants={
            "no_certificate": (
                _rejected("it contains no certificate: {said}"),
                f"Find out what else writes the agent's state; {_REORDER}",
            ),
            "wrong_issuer": (
                _rejected("{issuer} did not issue {subject}"),
                f"Fix the chain that the CA sends (`crt` in step-ca's ca.json), and restart the CA; {_REORDER}",
            ),
            "no_root": (
                _rejected("no pinned root issued {subject}"),
                "Make `authority.root` this CA's root, or fix the chain that the CA sends (`crt` in step-ca's"
                f" ca.json) and restart the CA; {_REORDER}",
            ),
        },
    ),
    entry(
        "deploy.san_missing",
        ERROR,
        meaning="The certificate lacks a configured name.",
        cause="The configuration changed after the order.",
        action="Check what was ordered.",
        explanation=_rejected("it is not for {names}"),
        fix=f"Make the CA issue for these names (its template and policy); {_REORDER}",
    ),
    entry(
        "deploy.not_yet_valid",
        ERROR,
        meaning="The certificate is not valid yet.",
        cause="A clock is wrong.",
        action="Check the clocks.",
        explanation=_rejected("it is valid from {since}, and it is now {now}"),
        fix=f"Correct the clock of this node or of the CA; {_AGAIN}",
    ),
)

"""The catalogue's table: every code, by layer. Data only."""

from collections.abc import Mapping

from certagent.domain.catalogue import (
    agent_codes,
    ca_codes,
    challenge_codes,
    deploy_codes,
    dns_codes,
    order_codes,
    pair_codes,
    path_codes,
    resolver_file_codes,
    source_codes,
    target_codes,
)
from certagent.domain.catalogue.entry import Entry

CATALOGUE: Mapping[str, Entry] = {
    entry.code: entry
    for module in (
        dns_codes,
        resolver_file_codes,
        ca_codes,
        path_codes,
        challenge_codes,
        order_codes,
        deploy_codes,
        target_codes,
        pair_codes,
        agent_codes,
        source_codes,
    )
    for entry in module.ENTRIES
}
"""Code -> entry, by layer."""

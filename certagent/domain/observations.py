"""What the acting node sees of itself: the same name as its own files, nameservers and libc have it, and who listens.

Values only. What the agent beside the CA sees is a `Rehearsal`.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from certagent.domain.catalogue import Fact
from certagent.domain.rehearsals import Resolution
from certagent.domain.resolution.files import ResolverFiles


class ListeningSocket(msgspec.Struct, frozen=True):
    """A listening TCP socket; `process` is its owner's name, where we may see it; `is_ours`: this agent."""

    address: str
    port: int
    process: str | None = None
    is_ours: bool = False


class PastRehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one rehearsal: where DNS led, and what went wrong ("timeout", "5xx", "404", ...)."""

    at: datetime
    addresses: tuple[str, ...] = ()
    trouble: str | None = None


class NodeObservation(msgspec.Struct, frozen=True, kw_only=True):
    """One look at this node for one identifier.

    `resolution` is the identifier by this node's files and every nameserver it knows (its resolv.conf's and the
    configured ones), `authority` the same of the CA's name. `listeners` are only looked for where something is wrong.
    """

    files: ResolverFiles | None = None
    resolution: Resolution | None = None
    authority: Resolution | None = None
    listeners: tuple[ListeningSocket, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a configuration file, as a person finds it. `text` is that line alone, without its indentation."""

    file: str
    line: int | None = None
    text: str | None = None


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A file of others' that could not be read, wholly or from `line` on (None: not known). `reason` shows nothing of
    its content. `is_long`: what is within the bound was read, and nothing is known of the rest."""

    file: str
    reason: str
    line: int | None = None
    is_long: bool = False


class ServerAction(StrEnum):
    """What a web server does with a challenge."""

    PASSES = "passes"  # on to `target`, an URL
    SERVES = "serves"  # files of the folder `target`
    REDIRECTS = "redirects"
    DENIES = "denies"
    ANSWERS = "answers"  # by itself, with the status `target`
    CLOSES = "closes"  # the connection, without an answer
    REFUSES = "refuses"  # nobody listens at the address; `place` is a line that listens at another
    REWRITES = "rewrites"  # what arrives at the responder is another path
    UNKNOWN = "unknown"  # the configuration alone does not say


class Misconfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake that the configuration shows: code and variant of a finding, the line, the facts of its sentences."""

    code: str
    place: Place
    variant: str = ""
    facts: dict[str, Fact] = {}


class WebServerObservation(msgspec.Struct, frozen=True, kw_only=True):
    """What the web server on this node does on port 80 with the challenge of one identifier, by its configuration.

    `place` is the line that decides. `host`: the line by which it passes on under another Host than the one asked for.
    `status` is the web server's own, None where another's comes through or the configuration does not say.
    `entry_point`: Traefik's, where it is that entry point itself that redirects. `causes` are mistakes that explain
    it, the nearest first.
    """

    server: str  # "nginx" | "traefik"
    action: ServerAction = ServerAction.UNKNOWN
    place: Place | None = None
    target: str | None = None
    status: int | None = None
    host: Place | None = None
    entry_point: str | None = None
    causes: tuple[Misconfiguration, ...] = ()

"""The messages on an agent's channel. The collector can only ask; an agent answers, or refuses."""

import msgspec

from certagent.domain.rehearsals import Rehearsal, RehearsalRequest

INSTANCE_HEADER = "Certagent-Instance"
"""The header of an agent's requests that says which process it is: an id made at its start. Older agents send none."""


class Rehearse(msgspec.Struct, frozen=True, kw_only=True, tag="rehearse", tag_field="ask"):
    """Fetch a planted token as the CA would. Only for an agent whose token has the role `authority`.

    `caller`: who asked the collector for it, so that one caller's questions do not displace those of others; empty from
    an older collector.
    """

    id: str
    request: RehearsalRequest
    caller: str = ""


class JudgeAgain(msgspec.Struct, frozen=True, kw_only=True, tag="judge_again", tag_field="ask"):
    """Run preflight again for these of your own identifiers; the result arrives as a report."""

    id: str
    identifiers: tuple[str, ...]


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel", tag_field="ask"):
    """Nobody waits for the answer to that earlier question any more. An older agent refuses this."""

    id: str
    question: str


Ask = Rehearse | JudgeAgain | Cancel


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True, tag="rehearsed", tag_field="answer"):
    """The answer to `Rehearse`."""

    id: str
    rehearsal: Rehearsal


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted", tag_field="answer"):
    """The answer to `JudgeAgain`: a run will follow. To `Cancel`: that question gets no answer any more."""

    id: str


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", tag_field="answer"):
    """The agent will not: an unknown question, a name off its allow-list, too many at once."""

    id: str
    reason: str


Answer = Rehearsed | Accepted | Refused

encode = msgspec.json.Encoder().encode
decode_answer = msgspec.json.Decoder(Answer).decode
_asks: msgspec.json.Decoder[Ask] = msgspec.json.Decoder(Ask)
_LONGEST_REASON, _LONGEST_IDENTITY = 500, 100


class _Named(msgspec.Struct):
    id: str = ""


_decode_named = msgspec.json.Decoder(_Named).decode


def decode_ask(message: bytes | str) -> Ask | Refused:
    """A question, or the refusal that anything else gets (its id kept where it has one)."""
    try:
        return _asks.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refused(
            id=_identity(message), reason=f"this agent does not support the request: {error}"[:_LONGEST_REASON]
        )


def _identity(message: bytes | str) -> str:
    try:
        return _decode_named(message).id[:_LONGEST_IDENTITY]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""

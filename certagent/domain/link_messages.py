"""The messages on an agent's channel. The collector can only ask; an agent answers, or refuses."""

import msgspec

from certagent.domain.rehearsals import Rehearsal, RehearsalRequest


class Rehearse(msgspec.Struct, frozen=True, kw_only=True, tag="rehearse", tag_field="ask"):
    """Fetch a planted token as the CA would. Only for an agent whose token has the role `authority`."""

    id: str
    request: RehearsalRequest


class JudgeAgain(msgspec.Struct, frozen=True, kw_only=True, tag="judge_again", tag_field="ask"):
    """Run preflight again for these of your own identifiers; the result arrives as a report."""

    id: str
    identifiers: tuple[str, ...]


Ask = Rehearse | JudgeAgain


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True, tag="rehearsed", tag_field="answer"):
    """The answer to `Rehearse`."""

    id: str
    rehearsal: Rehearsal


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted", tag_field="answer"):
    """The answer to `JudgeAgain`: a run will follow."""

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
        return Refused(id=_identity(message), reason=f"not a question this agent answers: {error}"[:_LONGEST_REASON])


def _identity(message: bytes | str) -> str:
    try:
        return _decode_named(message).id[:_LONGEST_IDENTITY]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""

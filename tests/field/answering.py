"""`python -m tests.field.answering NAME=ADDRESS... -- COMMAND...`: the command, while a nameserver on 127.0.0.1 port 53
knows these names and no others. For a node's own namespaces; the exit status is the command's."""

import asyncio
import sys

import dns.message

from tests.fakes.nameserver import nameserver, reply


async def main(*arguments: str) -> int:
    """The command's exit status."""
    split = arguments.index("--")
    known = dict(argument.split("=") for argument in arguments[:split])

    def answer(query: dns.message.Message) -> list[bytes]:
        question = query.question[0]
        address = known.get(str(question.name).rstrip(".").lower())
        return [reply(query, *([address] if address and question.rdtype == 1 else []), rcode=0 if address else 3)]

    async with nameserver(answer, port=53):
        process = await asyncio.create_subprocess_exec(*arguments[split + 1 :])
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))

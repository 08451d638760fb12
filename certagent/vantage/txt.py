"""The record of a dns-01 challenge, looked up as the CA does it. No record's text leaves this module."""

from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.txt import look_up_txt
from certagent.domain.txt import TxtAnswer, TxtLookup, record_name, text_of
from certagent.vantage.resolve import ASKING_FOR, endpoint
from certagent.world.records import ask_txt


async def look_up_record(identifier: str, digest: bytes, files: ResolverFiles, *, strict_fqdn: bool) -> TxtLookup:
    """What the CA finds at the identifier's record. A nameserver that kept silent once is not asked again."""
    name = record_name(identifier) + "." * (strict_fqdn and not identifier.endswith("."))
    machine = look_up_txt(name, files)
    silent: set[str] = set()
    try:
        question = next(machine)
        while True:
            if question.nameserver in silent:
                answer = TxtAnswer(nameserver=question.nameserver, name=question.name, status="timeout")
            else:
                address, port = endpoint(question.nameserver)
                use_tcp = files.resolv_conf.use_tcp
                answer = await ask_txt(address, question.name, text_of(digest), ASKING_FOR, port=port, use_tcp=use_tcp)
            if answer.status == "timeout":
                silent.add(question.nameserver)
            question = machine.send(answer)
    except StopIteration as end:
        result: TxtLookup = end.value
    return result

"""The record of a dns-01 challenge, looked up as the CA looks it up. The text of no record leaves this module."""

from datetime import timedelta

from certagent.domain.dns01_record import TxtAnswer, TxtLookup, record_name, text_of
from certagent.domain.resolution.files import ResolverFiles
from certagent.domain.resolution.txt_lookup import look_up_txt
from certagent.system.dns_update import ask_txt
from certagent.vantage.ca_resolver import ASKING_FOR, endpoint


async def look_up_record(identifier: str, digest: bytes, files: ResolverFiles, *, strict_fqdn: bool) -> TxtLookup:
    """Return what the CA finds at the identifier's record. A nameserver is asked again, as Go does, until it has
    been silent for the whole timeout."""
    name = record_name(identifier) + "." * (strict_fqdn and not identifier.endswith("."))
    machine = look_up_txt(name, files)
    timeout = min(ASKING_FOR, files.resolv_conf.timeout_for)
    waited: dict[str, timedelta] = {}
    try:
        question = next(machine)
        while True:
            if waited.get(question.nameserver, timedelta()) >= ASKING_FOR:
                answer = TxtAnswer(nameserver=question.nameserver, name=question.name, status="timeout")
            else:
                address, port = endpoint(question.nameserver)
                use_tcp = files.resolv_conf.use_tcp
                answer = await ask_txt(address, question.name, text_of(digest), timeout, port=port, use_tcp=use_tcp)
            if answer.status == "timeout":
                waited[question.nameserver] = waited.get(question.nameserver, timedelta()) + timeout
            question = machine.send(answer)
    except StopIteration as end:
        result: TxtLookup = end.value
    return result

"""The log of a service: to standard error, where systemd's journal takes it; one line for each message."""

import logging


def write_log() -> None:
    """Let everything from INFO on be written."""
    handler = logging.StreamHandler()
    handler.addFilter(keep_to_one_line)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", handlers=[handler])


def keep_to_one_line(record: logging.LogRecord) -> bool:
    """A filter: what a message quotes of others' words begins no line of its own, and moves no terminal's cursor."""
    message = record.getMessage()
    if not message.isprintable():
        record.msg = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)
        record.args = ()
    return True

"""Nobody's words make a line of the log that is not ours."""

import logging
import subprocess
import sys

import pytest

from certagent.system.journal import keep_to_one_line


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain, é, 日本", "plain, é, 日本"),
        ("a\nERROR certagent: forged", "a\\nERROR certagent: forged"),
        ("a\r\x1b[2J\x00", "a\\r\\x1b[2J\\x00"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
        ("\udcff", "\\udcff"),
        ("a % b\n", "a % b\\n"),
    ],
)
def test_a_message_is_one_line(word: str, written: str) -> None:
    """Whatever it quotes."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s said %s", ("lxc102", word), None)
    assert keep_to_one_line(record)
    assert record.getMessage() == f"lxc102 said {written}"


def test_a_traceback_keeps_its_lines() -> None:
    """It is ours; and the message before it is one line."""
    program = (
        "import logging; from certagent.system.journal import write_log; write_log()\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('x').exception('of %s', 'a\\nb')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert lines[0] == "ERROR x: of a\\nb"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: division by zero"

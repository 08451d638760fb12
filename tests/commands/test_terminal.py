"""What a terminal gets beside the words: lines that fit, colour, a sign of life; a pipe gets the words alone."""

import os
import pty
import re
import sys
import time

import pytest

from certagent.commands.terminal import Progress, asking, colour, fit

PYTHON = (sys.executable, "-m", "certagent.entry")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
FINDING = """\
traefik.internal: block (rehearsal failed)
  fatal dns.hosts_shadow.authority
        The CA on lxc103 connects to 10.0.0.153 for traefik.internal, because line 9 of /etc/hosts overrides DNS.
        lxc103:/etc/hosts:9: 10.0.0.153 traefik.internal gateway.internal portainer.internal and.many.more.internal
        fix: Remove line 9 of /etc/hosts on lxc103: 10.0.0.153 traefik.internal
"""
DIFF = """\
dns.hosts_shadow.authority: why
--- /etc/hosts
+++ /etc/hosts
@@ -1,3 +1,2 @@
 127.0.0.1 localhost localhost.localdomain and a line that is longer than the terminal by a good deal
-10.0.0.153 traefik.internal gateway.internal portainer.internal and a line that is as long as that one
nothing was changed; `certagent fix --apply` makes this edit
"""


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_sentences_fit_and_keep_their_indent(columns: int) -> None:
    """No word is lost; what is copied, a line of a file, stays whole."""
    lines = fit(FINDING, columns).splitlines()
    assert " ".join(" ".join(lines).split()) == " ".join(FINDING.split())
    assert [line for line in lines if len(line) > columns] in ([], [FINDING.splitlines()[3]])
    assert FINDING.splitlines()[3] in lines
    first = next(number for number, line in enumerate(lines) if line.endswith("dns.hosts_shadow.authority"))
    assert all(line.startswith(" " * 8) for line in lines[first + 1 :])
    fix = next(number for number, line in enumerate(lines) if line.startswith("        fix: "))
    assert all(line.startswith(" " * 13) for line in lines[fix + 1 :])


def test_a_diff_stays_as_it_is() -> None:
    """It is to be applied, or read as one; the sentences around it fit."""
    assert fit(DIFF, 50).splitlines()[1:6] == DIFF.splitlines()[1:6]
    assert len(fit(DIFF, 50).splitlines()[-1]) <= 50


def test_a_narrow_terminal_is_left_to_wrap_by_itself() -> None:
    """Below 40 columns, nothing is won."""
    assert fit(FINDING, 39) == FINDING.rstrip()


def test_colour_changes_no_word() -> None:
    """Severities, verdicts, lines of a diff; nothing else."""
    for text in (FINDING, DIFF):
        assert ESCAPES.sub("", colour(text)) == text.rstrip("\n")
    lines = colour(FINDING).splitlines()
    assert ["\x1b" in line for line in lines] == [True, True, False, False, False]
    assert ["\x1b" in line for line in colour(DIFF).splitlines()] == [False, True, True, False, False, True, False]
    assert "\x1b" not in colour("- a list\n+ and more\nwarn of nothing\n")


def _on_a_terminal(words: tuple[str, ...], **environment: str) -> str:
    """What a terminal of 60 columns shows of it."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(  # noqa: S606 - a list of words, as anywhere here
            words[0], words, os.environ | {"COLUMNS": "60", "TERM": "xterm"} | environment
        )
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


def test_on_a_terminal_it_fits_and_is_coloured() -> None:
    """With NO_COLOR, or where the terminal has none, it is not; JSON never is."""
    explain = (*PYTHON, "explain", "http01.wrong_entrypoint")
    coloured = _on_a_terminal(explain)
    assert "\x1b[31mfatal" in coloured
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = _on_a_terminal(explain, **environment)
        assert "\x1b" not in plain
        assert plain == ESCAPES.sub("", coloured)
    too_long = [line for line in plain.splitlines() if len(line) > 60]
    assert [line.strip() for line in too_long] == [
        "lxc102:/etc/traefik/dynamic/challenge.yml:5: entryPoints: [websecure]"
    ]
    machine = _on_a_terminal((*explain, "--json"))
    assert "\x1b" not in machine
    assert any(len(line) > 60 for line in machine.splitlines())


class _Terminal:
    """A standard error that says that it is one."""

    def __init__(self, is_terminal: bool) -> None:
        self.written = ""
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        self.written += text
        return len(text)

    def flush(self) -> None: ...


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second that is short."""
    monkeypatch.setattr("certagent.commands.terminal._FIRST_AFTER", 0.05)
    monkeypatch.setattr("certagent.commands.terminal._BETWEEN", 0.05)


def _until(terminal: _Terminal, text: str) -> None:
    end = time.monotonic() + 10
    while text not in terminal.written:
        assert time.monotonic() < end, terminal.written
        time.sleep(0.01)


def test_what_takes_long_shows_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    """And leaves nothing; not while a person is asked something."""
    terminal = _Terminal(is_terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("certagent check"):
        _until(terminal, "\rcertagent check ... 0 s ")
        with asking():
            before = terminal.written
            time.sleep(0.2)
            assert terminal.written == before
            assert before.endswith("\r\033[K")
        terminal.written = ""
        _until(terminal, "\rcertagent check ... 0 s ")
    assert terminal.written.endswith("\r\033[K")


def test_what_is_quick_shows_nothing_and_neither_does_a_pipe(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    """Standard error belongs to what goes wrong."""
    for terminal, lasts in ((_Terminal(is_terminal=True), 0.0), (_Terminal(is_terminal=False), 0.3)):
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress("certagent check"), asking() if not lasts else Progress("x"):
            time.sleep(lasts)
        assert terminal.written in ("", "\r\033[K")

"""What an empty fleet's overview tells a newcomer to copy: commands that exist, with options that exist."""

import html
import re
import shlex
import socket
from pathlib import Path

import click
import pytest

from certagent.cli import commands
from certagent.collector.dashboard import FirstCommands
from tests.collector.process import Collector
from tests.collector.test_page_codes import read, words_of

pytestmark = pytest.mark.slow

TREE = Path(__file__).parents[2]
NODE = socket.gethostname()


def commands_in(page: str) -> list[str]:
    """Those with a copy button, in their order."""
    shown = re.findall(r'(?s)<p class="command">(.*?)</p>', page)
    return [html.unescape(one) for text in shown for one in re.findall(r"<code>([^<]+)</code>", text)]


def check_command(text: str) -> None:
    """Each program of the pipe is known, and takes those words. Raises click.ClickException."""
    for part in text.split(" | "):
        program, *words = shlex.split(part)
        if program == "certagent":
            context = click.Context(commands, info_name=program)
            name, command, rest = commands.resolve_command(context, words)
            command.make_context(name, rest, parent=context)
        elif program == "systemctl":
            assert (TREE / "deploy/systemd" / f"{words[-1]}.service").is_file(), text
        else:
            options = re.findall(r'add_argument\("(--[\w-]+)"', (TREE / program).read_text(encoding="utf-8"))
            assert {word for word in words if word.startswith("--")} <= set(options), text


def test_a_wrong_command_is_noticed() -> None:
    """Such as the one that the page once showed without what it needs, and options that there are not."""
    for wrong in ("certagent enrol", "certagent enrol NAME --roles authority", "certagent enrol NAME --role operator"):
        with pytest.raises(click.ClickException):
            check_command(wrong)


async def test_each_command_of_the_beginning_can_be_run_as_it_is_copied(collector: Collector) -> None:
    """First beside the collector, by its own name; then each container; then beside the CA."""
    page = await read(collector, "/")
    shown = commands_in(page)
    for text in shown:
        check_command(text)
    ordered = [one for one in shown if "enrol" in one]
    assert ordered == [
        f"certagent enrol {NODE} | certagent join",
        "certagent enrol NAME",
        "certagent enrol NAME --role authority",
    ]
    for place, enrolling in enumerate(shown):  # whoever is enrolled joins, and then its agent is started
        if enrolling.startswith("certagent enrol"):
            following = shown[place + 1 : place + 4]
            joining = ["certagent join"] * ("join" not in enrolling)
            node = "NAME" if joining else NODE
            started = [f"deploy/lxc/install {node} --role agent", "systemctl enable --now certagent-agent"]
            assert following[: len(joining) + 2] == joining + started
    assert f"on {NODE}" in words_of(page)
    for gone in ("certagent token add", "<code>certagent init --write"):
        assert gone not in page


async def test_what_is_done_is_not_asked_for_again(collector: Collector) -> None:
    """The agent beside the CA is missing; then a certificate; then nothing."""
    cast = collector.cast
    await collector.report(cast.traefik.inventory("10.0.0.12", "traefik"))
    shown = commands_in(await read(collector, "/"))
    assert [one for one in shown if "enrol" in one] == ["certagent enrol NAME --role authority"]
    await collector.report(cast.authority.inventory("10.0.0.10", "authority"))
    assert commands_in(await read(collector, "/")) == ["certagent check"]
    await collector.introduce()
    assert commands_in(await read(collector, "/")) == []


@pytest.mark.parametrize("host", ["collector.test:8843", "[2001:db8::1]:8843", "odd host:1"])
def test_a_collector_that_does_not_know_its_url_is_told_it(host: str) -> None:
    """As the reader reached it, quoted for the shell."""
    ours = FirstCommands(node="lxc104", has_url=False, can_enrol=True)
    for text in (ours.own(host), ours.enrol(host, role="authority")):
        check_command(text)
        words = shlex.split(text.partition(" | ")[0])
        assert words[words.index("--url") + 1] == f"https://{host}"
    assert ours.own(host).startswith("certagent enrol lxc104 --url ")

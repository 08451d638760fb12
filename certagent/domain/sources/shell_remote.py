"""Programs that lead to another node: `pct`, `lxc-attach`, `ssh`, `docker`, a container's root. Pure."""

import re
from collections.abc import Iterator, Sequence

from certagent.domain.resolution.file_formats import HOSTS_FILE, RESOLV_CONF_FILE
from certagent.domain.sources.shell import Follower
from certagent.domain.sources.shell_commands import Call
from certagent.domain.sources.shell_outcome import NOTHING, UNTOLD, CommandOutcome
from certagent.domain.sources.shell_redirections import read_path
from certagent.domain.sources.shell_syntax import ShellScript
from certagent.domain.sources.writes import TextLine, Value

_SSH_WITH_VALUE = frozenset("bcDEeFIiJLlmOopQRSWw")
_DOCKER_EXEC_WITH_VALUE = ("-u", "--user", "-w", "--workdir", "-e", "--env", "--env-file")
_GUEST_PATH = re.compile(r"/nodes/[^/]+/(?:lxc|qemu)/(?P<node>\d+)/config")


def run_on(call: Call, node: Value, words: Sequence[Value]) -> CommandOutcome:
    """A command on another node, by its words."""
    if not words:
        return NOTHING
    child = call.shell.on_node(call.shell.script, node.text)
    follower = Follower(child, call.commands)
    return call.commands.execute(follower, words, call.stdin, call.row)


def pct(call: Call) -> CommandOutcome:
    """`pct exec|push|set|create NODE ...`; `qm` alike."""
    if len(call.args) < 2:
        return UNTOLD
    verb, node, words = call.args[0].text, call.args[1], list(call.args[2:])
    if node.is_known:
        call.shell.run.guests[node.text] = "Proxmox VE"
    if verb == "exec":
        while words and words[0].text.startswith("-"):
            words.pop(0)
        return run_on(call, node, words)
    if verb == "push" and len(words) >= 2:
        _push(call, node, words[0], words[1])
    elif verb in ("set", "create", "restore", "clone"):
        _configure(call, node, words)
    return NOTHING


def _push(call: Call, node: Value, source: Value, target: Value) -> None:
    text = read_path(call.follower, source)
    if text is not None and not all(line.is_rest for line in text):
        call.shell.run.files.replace(node.text, target.text, text, call.shell.guards)


def _configure(call: Call, node: Value, words: Sequence[Value]) -> None:
    """A guest's nameserver and search domain: Proxmox writes them into its resolv.conf."""
    lines = [
        TextLine(f"{key} {text}\n", call.place, value.resolved)
        for option, keyword in (("nameserver", "nameserver"), ("searchdomain", "search"))
        for value in option_values(words, option)
        for key, text in _lines(keyword, value.text)
    ]
    if lines:
        files = call.shell.run.files
        files.replace(node.text, RESOLV_CONF_FILE, tuple(lines), manager="Proxmox VE")
    if any(value.text in ("ca", "step-ca") for value in option_values(words, "hostname")) and node.is_known:
        call.shell.run.authorities.add((node.text, call.place.source))


def _lines(keyword: str, text: str) -> Iterator[tuple[str, str]]:
    if keyword == "nameserver":
        return ((keyword, address) for address in text.replace(",", " ").split())
    return iter([(keyword, text)])


def option_values(words: Sequence[Value], option: str) -> Iterator[Value]:
    """The values of `--option V`, `--option=V` and `-option V`."""
    for number, word in enumerate(words):
        name, equals, value = word.text.partition("=")
        if name not in (f"--{option}", f"-{option}"):
            continue
        if equals:
            yield Value(value, word.resolved)
        elif number + 1 < len(words):
            yield words[number + 1]


def pvesh(call: Call) -> CommandOutcome:
    """`pvesh set /nodes/N/lxc/ID/config ...`."""
    found = _GUEST_PATH.fullmatch(call.args[1].text) if len(call.args) > 1 else None
    if found is not None and call.args[0].text in ("set", "create"):
        _configure(call, Value(found["node"]), call.args[2:])
    return NOTHING


def lxc_attach(call: Call) -> CommandOutcome:
    """`lxc-attach -n NODE -- CMD...`."""
    words, node = list(call.args), Value("")
    while words and words[0].text.startswith("-"):
        option = words.pop(0)
        if option.text == "--":
            break
        if option.text in ("-n", "--name", "-P", "-v", "--set-var", "-u", "-g") and words:
            value = words.pop(0)
            node = value if option.text in ("-n", "--name") else node
        elif option.text.startswith("--name="):
            node = Value(option.text.partition("=")[2], option.resolved)
    return run_on(call, node, words)


def lxc(call: Call) -> CommandOutcome:
    """`lxc exec NODE -- CMD...`, `incus exec`, `machinectl shell`."""
    words = list(call.args)
    if len(words) < 2 or words[0].text not in ("exec", "shell"):
        return UNTOLD
    rest = words[2:]
    while rest and rest[0].text.startswith("-"):
        if rest.pop(0).text == "--":
            break
    return run_on(call, words[1], rest)


def ssh(call: Call) -> CommandOutcome:
    """`ssh [-o X] [USER@]NODE CMD...`: the words are joined, and a shell there splits them again."""
    words = list(call.args)
    while words and words[0].text.startswith("-"):
        option = words.pop(0).text
        if len(option) == 2 and option[1] in _SSH_WITH_VALUE and words:
            words.pop(0)
    if not words:
        return UNTOLD
    target, *command = words
    node = Value(target.text.rpartition("@")[2].removeprefix("ssh://"), target.resolved)
    text = command[0] if command else Value("")
    for word in command[1:]:
        text = text.joined(Value(" ", row=text.row)).joined(word)
    child_node = node.text
    if not command:
        child = call.shell.on_node(ShellScript.of_text(call.stdin, call.place), child_node)
        return call.commands.follow(child)
    child = call.shell.on_node(ShellScript.of_value(text, call.shell.script, call.row), child_node)
    return call.commands.follow(child, call.stdin)


def docker(call: Call) -> CommandOutcome:
    """`docker exec NODE CMD...`; `docker run --add-host NAME:ADDRESS --dns ADDRESS`."""
    words = list(call.args)
    if words and words[0].text in ("compose", "container"):
        words.pop(0)
    verb = words.pop(0).text if words else ""
    if verb in ("run", "create"):
        _run_container(call, words)
        return UNTOLD
    if verb != "exec":
        return UNTOLD
    while words and words[0].text.startswith("-"):
        if words.pop(0).text in _DOCKER_EXEC_WITH_VALUE and words:
            words.pop(0)
    if not words:
        return UNTOLD
    if words[0].is_known:
        call.shell.run.guests[words[0].text] = "Docker"
    return run_on(call, words[0], words[1:])


def _run_container(call: Call, words: Sequence[Value]) -> None:
    name = next(option_values(words, "name"), Value(""))
    node = name.text if name.text and name.is_known else None
    hosts = [
        TextLine(f"{address} {host}\n", call.place, value.resolved)
        for value in option_values(words, "add-host")
        for host, address in (split_extra_host(value.text),)
        if address and address != "host-gateway"
    ]
    servers = [
        TextLine(f"nameserver {value.text}\n", call.place, value.resolved) for value in option_values(words, "dns")
    ]
    for path, lines in ((HOSTS_FILE, hosts), (RESOLV_CONF_FILE, servers)):
        if lines:
            call.shell.run.files.replace(node, path, tuple(lines), manager="Docker")


def split_extra_host(text: str) -> tuple[str, str]:
    """(name, address) of Docker's `NAME:ADDRESS` or `NAME=ADDRESS`, an IPv6 address with or without brackets."""
    found = re.fullmatch(r"(?P<name>[^:=]+)[:=]\[?(?P<address>[^\]]+)\]?", text.strip())
    return (found["name"], found["address"]) if found is not None else (text, "")


def copy_remote(call: Call) -> CommandOutcome:
    """`scp FILE NODE:PATH`, `docker cp`, `rsync`."""
    words = [value for value in call.args if not value.text.startswith("-") and value.text != "cp"]
    if len(words) < 2 or ":" not in words[-1].text:
        return UNTOLD
    node, _, target = words[-1].text.partition(":")
    for source in words[:-1]:
        path = f"{target}{source.text.rpartition('/')[2]}" if target.endswith("/") else target
        _push(call, Value(node.rpartition("@")[2]), source, Value(path))
    return NOTHING


def change_root(call: Call) -> CommandOutcome:
    """`chroot FOLDER CMD...`."""
    words = list(call.args)
    while words and words[0].text.startswith("-"):
        words.pop(0)
    if len(words) < 2:
        return UNTOLD
    shell, kept = call.shell, call.shell.root
    shell.root = shell.absolute(words[0].text).rstrip("/")
    try:
        return call.commands.execute(call.follower, words[1:], call.stdin, call.row)
    finally:
        shell.root = kept


def container_tool(call: Call) -> CommandOutcome:
    """`docker`, `podman`."""
    return copy_remote(call) if call.texts()[:1] == ["cp"] else docker(call)

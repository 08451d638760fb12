"""Every program that is known by name, in one table. What is not in it changes nothing that matters here. Pure."""

from collections.abc import Iterator, Mapping

from certagent.domain.sources import shell_builtins as builtins
from certagent.domain.sources import shell_printing as printing
from certagent.domain.sources import shell_programs as programs
from certagent.domain.sources import shell_remote as remote
from certagent.domain.sources.shell_commands import Program

_UNTOLD = "awk gawk mawk curl wget hostname date dig host jq python3 python perl envsubst head tail cut tr"


def _named(names: str, program: Program) -> Iterator[tuple[str, Program]]:
    return ((name, program) for name in names.split())


PROGRAMS: Mapping[str, Program] = {
    "echo": printing.echo,
    "printf": printing.printf,
    "cat": programs.cat,
    "tee": programs.tee,
    "sponge": programs.sponge,
    "sed": programs.sed,
    "getent": programs.getent,
    "touch": programs.touch,
    "mktemp": programs.mktemp,
    "set": builtins.set_words,
    "shift": builtins.shift,
    "cd": programs.change_folder,
    "pwd": programs.folder,
    "dirname": programs.dirname,
    "basename": printing.basename,
    "seq": printing.sequence,
    "git": programs.git_root,
    "eval": builtins.evaluate_words,
    "exec": builtins.replace_shell,
    "read": builtins.read_once,
    "let": builtins.let,
    "unset": builtins.unset,
    "cloud-init-per": builtins.per_instance,
    "false": builtins.fails,
    **dict(_named("test [", builtins.test)),
    **dict(_named("source .", builtins.source)),
    **dict(_named("mapfile readarray", builtins.map_file)),
    **dict(_named("grep egrep fgrep rg", programs.grep)),
    **dict(_named("cp mv install", programs.copy)),
    **dict(_named("readlink realpath", programs.path_part)),
    **dict(_named("sudo doas env nohup time command builtin timeout nice ionice setsid", builtins.wrapped)),
    **dict(_named("sort uniq", builtins.passed_on)),
    **dict(_named(_UNTOLD, printing.untold)),
    **dict(_named("true : mkdir chmod chown systemctl", builtins.nothing)),
    **{kind: builtins.leave(kind) for kind in ("exit", "return", "break", "continue")},
    "pct": remote.pct,
    "qm": remote.pct,
    "pvesh": remote.pvesh,
    "lxc-attach": remote.lxc_attach,
    "lxc": remote.lxc,
    "incus": remote.lxc,
    "ssh": remote.ssh,
    "docker": remote.container_tool,
    "podman": remote.container_tool,
    "docker-compose": remote.docker,
    "scp": remote.copy_remote,
    "rsync": remote.copy_remote,
    "chroot": remote.change_root,
    "xargs": builtins.nothing,
    "sshpass": builtins.wrapped,
}
"""Name -> what it does."""

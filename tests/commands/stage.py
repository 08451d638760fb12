"""A node in namespaces of its own, for commands that look around. Not a test: run by one.

    unshare -m -n python -m tests.commands.stage

Addresses of the fleet on loopback, a real nameserver, a web server on each of two; then `certagent whatif`,
`resolve`, `trace` and `fix` as processes. Prints one JSON document of what they said, and of what they left behind.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.vantage.stage import (
    _COMMANDS,
    HOSTS,
    NAME,
    POISON,
    _nameserver,
    _not_found,
    _server,
)

AGENT = """
[agent]
name = "lxc102"
state = "{folder}/state"
[authority]
directory = "https://ca.internal.thinkheads.ai:9000/acme/acme/directory"
root = "{folder}/root.crt"
[dns]
nameservers = ["127.0.0.1"]
zones = ["internal.thinkheads.ai"]
"""
BESIDE = """
[collector]
url = "https://127.0.0.1:1"
token_file = "{folder}/token"
[vantage]
allow = ["*.internal.thinkheads.ai"]
process = "stage-ca"
"""

_NO_NAMESPACES = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


def main() -> None:
    """Set the stage, play, print."""
    for command in _COMMANDS:
        subprocess.run(command.split(), check=True)
    Path("/etc/hosts").write_text(HOSTS)
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    json.dump(asyncio.run(_play()), sys.stdout)


async def _play() -> dict[str, Any]:
    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        poisoned, deaf = Path(folder, "hosts"), Path(folder, "resolv.conf")
        poisoned.write_text(HOSTS + POISON)
        deaf.write_text("nameserver 10.0.0.153\n")
        async with _nameserver(), _server("10.0.0.12", _traefik), _server("10.0.0.153", _not_found):
            before = _traces()
            seen["hosts"] = await _certagent("whatif", NAME, "--hosts", str(poisoned))
            seen["resolv_conf"] = await _certagent("whatif", NAME, "--resolv-conf", str(deaf))
            seen["piped"] = await _certagent("whatif", NAME, "--hosts", "/dev/stdin", given=HOSTS + POISON)
            seen["forbidden"] = await _certagent("whatif", NAME, "--hosts", str(poisoned), within=_NO_NAMESPACES)
            seen["traces"] = [before, _traces()]
            seen["healthy"] = await _certagent("resolve", NAME)
            seen["traced"] = await _certagent("trace", NAME)
            Path("/etc/hosts").write_text(HOSTS + POISON)
            seen["poisoned"] = await _certagent("resolve", NAME)
            seen["traced_poisoned"] = await _certagent("trace", NAME)
            seen["traced_beside"] = await _trace_beside_the_ca(Path(folder))
            seen |= await _mend(Path(folder))
            seen["nowhere"] = await _certagent("resolve", "nowhere.internal.thinkheads.ai")
    return seen


async def _trace_beside_the_ca(folder: Path) -> dict[str, Any]:
    """`certagent trace` on the CA's node, where no collector answers: blind, then seeing, then with DNS asked first."""
    (folder / "root.crt").write_text("root")
    (folder / "token").write_text("token")
    (folder / "token").chmod(0o600)
    (folder / "beside.toml").write_text((AGENT + BESIDE).format(folder=folder))
    words = ("trace", NAME, "--config", str(folder / "beside.toml"))
    seen = {"blind": await _certagent(*words)}
    program = folder / "stage-ca"
    shutil.copy("/bin/sleep", program)
    ca = await asyncio.create_subprocess_exec(str(program), "600")
    try:
        seen["poisoned"] = await _certagent(*words)
        Path("/etc/nsswitch.conf").write_text("hosts: dns files\n")
        seen["dns_first"] = await _certagent(*words)
        Path("/etc/nsswitch.conf").unlink()
    finally:
        ca.kill()
        await ca.wait()
    return seen


async def _mend(folder: Path) -> dict[str, Any]:
    """`certagent fix` for a line of a person's, then for one inside of Proxmox's section."""
    (folder / "root.crt").write_text("root")
    (folder / "agent.toml").write_text(AGENT.format(folder=folder))
    configuration = ("--config", str(folder / "agent.toml"))
    seen: dict[str, Any] = {"before": _traces()["files"]}
    for name, words in (("shown", ()), ("applied", ("--apply",)), ("again", ()), ("undone", ("--undo",))):
        seen[name] = await _certagent("fix", *words, *configuration)
        seen[f"{name}_files"] = _traces()["files"]
    Path("/etc/hosts").write_text(f"# --- BEGIN PVE ---\n{POISON}# --- END PVE ---\n")
    seen["managed"] = await _certagent("fix", "--apply", *configuration)
    Path("/etc/hosts").write_text(HOSTS)
    Path("/etc/resolv.conf").write_text("search internal.thinkheads.ai\n")
    seen["deaf"] = await _certagent("fix", "--apply", *configuration)
    seen["deaf_files"] = _traces()["files"]
    return {"fix": seen}


async def _certagent(*words: str, within: tuple[str, ...] = (), given: str = "") -> Any:
    program = (*within, sys.executable, "-m", "certagent.entry", *words, "--json")
    process = await asyncio.create_subprocess_exec(
        *program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, trouble = await process.communicate(given.encode())
    return {"status": process.returncode, "document": json.loads(said or b"null"), "trouble": trouble.decode()}


def _traces() -> dict[str, Any]:
    """The live files, and every mount that there is here."""
    return {
        "files": {name: Path("/etc", name).read_text() for name in ("hosts", "resolv.conf")},
        "times": {name: Path("/etc", name).stat().st_ctime_ns for name in ("hosts", "resolv.conf")},
        # But for those of labs, which come and go beside it: what is removed there is no mount here any more.
        "mounts": [one for one in Path("/proc/self/mountinfo").read_text().splitlines() if "certagent-lab" not in one],
        "left": sorted(str(path) for path in Path(tempfile.gettempdir()).glob("certagent-whatif-*")),
    }


def _traefik(_request: bytes) -> bytes:
    return b"HTTP/1.1 404 Not Found\r\nServer: certagent\r\nContent-Length: 0\r\n\r\n"


if __name__ == "__main__":
    main()

"""Runs provisioning code for real, twice: in a root of its own, with an /etc for each container or host that the code
reaches. A program; what it prints is JSON: for each run node ("" for the machine itself) -> file -> new lines.

`unshare -m python throwaway_root.py NAMESPACE CODE-FOLDER NEW-FOLDER COMMAND...`, as root. `pct`, `ssh`, `lxc-attach`
and `docker` are stubs that run what they are told with the /etc of whom they are told; programs that would change
anything else do nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DEVICES = ("null", "zero", "urandom")
LINKS = ("bin", "sbin", "lib", "lib64")
START = {
    "hosts": "127.0.1.1 the-node\n",
    "resolv.conf": "# as the node was made\n",
    "nsswitch.conf": "passwd: files\nhosts: files\n",
    "dnsmasq.conf": "",
    "passwd": "root:x:0:0:root:/root:/bin/bash\n",
    "group": "root:x:0:\n",
}
WATCHED = ("hosts", "resolv.conf", "nsswitch.conf", "dnsmasq.conf", "dnsmasq.d/*")
NOTHING = ("apt-get", "systemctl", "ping", "service", "pvesh", "qm", "step")
ENTER = """mkdir -p "/nodes/$1"
[ -d "/nodes/$1/etc" ] || cp -r /start "/nodes/$1/etc"
exec unshare -m --propagation unchanged sh -c 'mount --bind "/nodes/$1/etc" /etc && shift && exec "$@"' sh "$@\""""
SET = """while [ $# -gt 0 ]; do case "$1" in
    -*nameserver=*) servers="${1#*=}";; -*searchdomain=*) search="${1#*=}";;
    -*nameserver) servers=$2; shift;; -*searchdomain) search=$2; shift;; esac; shift; done
  enter "$id" sh -c '{ [ -z "$1" ] || echo "search $1"; for one in $2; do echo "nameserver $one"; done; } \\
    > /etc/resolv.conf' sh "$search" "$servers\""""
STUBS = {
    "enter": ENTER,
    "sudo": 'while [ "${1#-}" != "$1" ]; do case "$1" in -u|-g) shift 2;; *) shift;; esac; done; exec "$@"',
    "pct": f"""verb=$1 id=$2; shift 2
case "$verb" in
  exec) [ "$1" = -- ] && shift; exec enter "$id" "$@";;
  push) enter "$id" true; cp "$1" "/nodes/$id$2";;
  set|create) {SET};;
esac""",
    "lxc-attach": """while [ $# -gt 0 ]; do case "$1" in
  -n|--name) node=$2; shift 2;; --name=*) node=${1#*=}; shift;; --) shift; break;; *) break;; esac; done
exec enter "$node" "$@\"""",
    "ssh": """while [ "${1#-}" != "$1" ]; do case "$1" in -o|-p|-i|-l|-F) shift 2;; *) shift;; esac; done
node=${1#*@}; shift; exec enter "$node" sh -c "$*\"""",
    "docker": """[ "$1" = exec ] || exit 0
shift; while [ "${1#-}" != "$1" ]; do case "$1" in -u|-e|-w) shift 2;; *) shift;; esac; done
exec enter "$@\"""",
} | dict.fromkeys(NOTHING, "exit 0")
ANSIBLE = {
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
    "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
}
"""It reaches its hosts by the stub of `ssh`, which knows no other way to carry a file."""


def make_root(root: Path, code: Path) -> None:
    """A file system in which a shell runs: the machine's programs, an /etc of its own, the stubs, the code."""
    for name in ("usr", "proc", "dev/shm", "tmp", "root", "etc/dnsmasq.d", "var/lib", "stubs", "nodes"):
        (root / name).mkdir(parents=True)
    for name in LINKS:
        (root / name).symlink_to(f"usr/{name}")
    for folder in {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix)}:  # Ansible's Python is no program of /usr
        share(root, folder)
    subprocess.run(["mount", "--bind", "/proc", root / "proc"], check=True)
    for name in DEVICES:
        (root / "dev" / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", root / "dev" / name], check=True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    for name, content in START.items():
        (root / "etc" / name).write_text(content, encoding="utf-8")
    shutil.copytree(root / "etc", root / "start")
    shutil.copytree(code, root / "code")
    for name, script in STUBS.items():
        path = root / "stubs" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


def require_own_namespace(outside: str) -> None:
    """What is mounted here must end with this program: whoever removes the folder later would remove the machine's own
    programs. `outside`: the mount namespace of who starts it. Raises RuntimeError."""
    if not outside.startswith("mnt:[") or os.readlink("/proc/self/ns/mnt") == outside:
        raise RuntimeError("this runs in a mount namespace of its own only: unshare --mount")


def share(root: Path, folder: Path) -> None:
    """The machine's own folder, read only."""
    target = root / folder.relative_to("/")
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", folder, target], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)


def run_inside(root: Path, command: list[str]) -> None:
    """In that root, in the folder of the code, with the stubs first on PATH. How it ends does not matter."""
    environment = {"PATH": "/stubs:/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8", **ANSIBLE}
    words = ["chroot", str(root), "/bin/sh", "-c", 'cd /code && exec "$@"', "sh", *command]
    subprocess.run(words, env=environment, check=False, stdout=subprocess.DEVNULL, timeout=200)


def new_lines(etc: Path) -> dict[str, list[str]]:
    """The resolver files of an /etc, without the lines that they held at first."""
    found = {}
    for path in (path for pattern in WATCHED for path in sorted(etc.glob(pattern))):
        name = str(path.relative_to(etc))
        before = START.get(name, "").splitlines()
        lines = path.read_text(encoding="utf-8").splitlines()
        found[f"/etc/{name}"] = [line for line in lines if line not in before]
    return found


def look(root: Path) -> dict[str, dict[str, list[str]]]:
    """Every node of the root."""
    nodes = {"": root / "etc"}
    nodes |= {path.name: path / "etc" for path in (root / "nodes").iterdir()}
    nodes |= {path.parent.name: path / "etc" for path in (root / "var/lib/lxc").glob("*/rootfs")}
    return {node: new_lines(etc) for node, etc in nodes.items()}


def main(outside: str, code: Path, root: Path, command: list[str]) -> None:
    """Run it twice."""
    require_own_namespace(outside)
    make_root(root, code)
    results = []
    for _ in range(2):
        run_inside(root, command)
        results.append(look(root))
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])

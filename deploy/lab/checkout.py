"""The fleet's provisioning code as a user has it: a git checkout on the host, whose scripts set the containers up, and
a copy of it on the collector's node, which reads it.

Made of `deploy/lab/provisioning` when a script is first run; from then on the checkout is what counts.
"""

import os
import shutil
import tarfile
import tempfile

from dulwich import porcelain

from deploy.lab import places
from deploy.lab.containers import inside
from deploy.lab.fleet import Node, find
from deploy.lab.processes import run

CHECKOUT = places.RUNTIME / "provisioning"
_ORIGIN = places.LAB / "provisioning"
NODES = sorted(script.stem for script in _ORIGIN.glob("*.sh"))
"""Those that have a set-up script."""
_HOST_COMMANDS = places.LAB / "host_commands"
COLLECTORS_COPY = "/srv/provisioning"
"""On the collector's node, as the [sources] of docs/recipes.md says."""
_AUTHOR = b"An Operator <operator@thinkheads.ai>"
_UNPACK = 'rm -rf "$1.new" && mkdir -p "$1.new" && tar -x -C "$1.new" && rm -rf "$1" && mv "$1.new" "$1"'


def provision(node: Node) -> str:
    """Commit what was changed in the checkout, copy it to the collector's node, and run the node's script. Answers what
    was run, at which commit.

    Raises:
        Failed: the copy, or the script, failed.
    """
    commit = _commit()
    _copy_to_collector()
    script = CHECKOUT / f"{node.name}.sh"
    run([script], env={"PATH": f"{_HOST_COMMANDS}:{os.environ['PATH']}"}, timeout=60)
    return f"{script} at commit {commit[:12]}"


def _commit() -> str:
    """HEAD, with all that is in the folder; a commit is made only of a change."""
    if not CHECKOUT.exists():
        shutil.copytree(_ORIGIN, CHECKOUT)
        porcelain.init(CHECKOUT)
    code = [str(path) for path in CHECKOUT.rglob("*") if path.is_file() and CHECKOUT / ".git" not in path.parents]
    porcelain.add(str(CHECKOUT), code)
    if any(porcelain.status(str(CHECKOUT)).staged.values()):
        porcelain.commit(str(CHECKOUT), b"Set-up scripts", author=_AUTHOR, committer=_AUTHOR)
    with porcelain.open_repo_closing(str(CHECKOUT)) as repository:
        return str(repository.head().decode("ascii"))


def _copy_to_collector() -> None:
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(CHECKOUT, ".")
        packed.seek(0)
        run(inside(find("lxc104"), "sh", "-euc", _UNPACK, "sh", COLLECTORS_COPY), stdin=packed)

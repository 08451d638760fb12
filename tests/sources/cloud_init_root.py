"""Boots a machine of cloud-init's twice, for real: Debian's cloud-init in a root of its own, with the snippet as the
user data of a NoCloud seed. A program; what it prints is JSON: for each boot the node's name ("" where cloud-init gave
it none) -> file -> new lines.

`unshare --mount --uts --net -m tests.sources.cloud_init_root NAMESPACE LAYER USER-DATA NEW-FOLDER DISTRIBUTION`, as
root. LAYER holds the unpacked package. A boot runs cloud-init's four stages in their order. Of the modules that the
package runs by itself those are left out that neither write a resolver file nor run what somebody gives them: users,
disks and keys of the machine.
"""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.sources.throwaway_root import look, make_root, require_own_namespace, run_inside

STAGES = (
    ("init", "--local"),
    ("init",),
    ("modules", "--mode=config"),
    ("modules", "--mode=final"),
)
KEPT = (
    "bootcmd", "write-files", "set_hostname", "update_hostname", "update_etc_hosts", "runcmd", "write-files-deferred",
    "scripts-vendor", "scripts-per-once", "scripts-per-boot", "scripts-per-instance", "scripts-user",
)  # fmt: skip
FOLLOWED_BY = {("alpine", "update_etc_hosts"): "resolv_conf"}
"""What another distribution's package runs besides: (distribution, the module before) -> module."""
ALL_STAGES = f"""import os, sys
from cloudinit.cmd.main import main
for stage in {STAGES!r}:
    child = os.fork()
    if child == 0:
        sys.exit(main(["cloud-init", *stage]))
    os.waitpid(child, 0)
"""
"""A process a stage, as its units start them; what they all import is read once."""
LISTS = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")
UNNAMED = "unnamed"
SEED = "var/lib/cloud/seed/nocloud"
PACKAGES = "usr/lib/python3/dist-packages"


def install(layer: Path, root: Path, user_data: Path, distribution: str) -> None:
    """Put cloud-init, its configuration and the seed into the root."""
    shutil.copytree(layer / PACKAGES, root / "opt")
    shutil.copytree(layer / "etc/cloud", root / "etc/cloud")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "usr/local"], check=True)
    for name in ("usr/local/bin", "usr/local/sbin", "var/log"):
        (root / name).mkdir()
    shutil.copy(layer / "usr/bin/cloud-init-per", root / "stubs")
    (root / SEED).mkdir(parents=True)
    shutil.copy(user_data, root / SEED / "user-data")
    (root / SEED / "meta-data").write_text("instance-id: the-instance\n", encoding="utf-8")
    packaged = yaml.safe_load((layer / "etc/cloud/cloud.cfg").read_text(encoding="utf-8"))
    ours = {
        "datasource_list": ["NoCloud", "None"],
        "network": {"config": "disabled"},
        "system_info": {"distro": distribution},
        **{name: modules_of(packaged[name], distribution) for name in LISTS},
    }
    (root / "etc/cloud/cloud.cfg.d/99-ours.cfg").write_text(yaml.safe_dump(ours), encoding="utf-8")


def modules_of(packaged: list[str], distribution: str) -> list[str]:
    """Those of a stage that are kept, in the package's order."""
    kept: list[str] = []
    for name in packaged:
        if name in KEPT:
            more = FOLLOWED_BY.get((distribution, name))
            kept += [name, more] if more is not None else [name]
    return kept


def boot(root: Path) -> None:
    """All stages; what only a running machine holds is new."""
    shutil.rmtree(root / "run", ignore_errors=True)
    (root / "run").mkdir()
    run_inside(root, ["env", "PYTHONPATH=/opt", "/usr/bin/python3", "-c", ALL_STAGES])


def require_results(root: Path) -> None:
    """cloud-init notes its errors, and that it came to its end. Raises RuntimeError."""
    results = root / "run/cloud-init/result.json"
    log = root / "var/log/cloud-init.log"
    if not results.is_file():
        raise RuntimeError(log.read_text(encoding="utf-8")[-5000:] if log.is_file() else "cloud-init did not run")
    if json.loads(results.read_text(encoding="utf-8"))["v1"]["datasource"] is None:
        raise RuntimeError("cloud-init did not find its seed")


def main(outside: str, layer: Path, user_data: Path, root: Path, distribution: str) -> None:
    """Boot it twice."""
    require_own_namespace(outside)
    make_root(root, user_data.parent)
    install(layer, root, user_data, distribution)
    subprocess.run(["hostname", UNNAMED], check=True)
    results = []
    for _ in range(2):
        boot(root)
        require_results(root)
        name = platform.node().partition(".")[0]
        results.append({name if name != UNNAMED and not node else node: files for node, files in look(root).items()})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])

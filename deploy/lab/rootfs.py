"""The lowest layer of a node: a minimal Debian 12; for a guest of the tests, Debian 13.

The recipe is this file: change a byte of it, and the next `up` makes a new one.
"""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.lab import layers
from deploy.lab.processes import Failed, run

FALLBACK_MIRROR = "http://deb.debian.org/debian"
"""For a machine whose own package client names no mirror of Debian 12."""


@dataclass(frozen=True)
class Release:
    """A Debian: its name, the Python and the C library that it has, and what a layer of it holds."""

    name: str
    python: str
    glibc: str
    packages: tuple[str, ...]


_EVERYWHERE = ("systemd-sysv", "dbus", "iproute2", "nginx-light", "python3", "ca-certificates", "procps")

BOOKWORM = Release(
    "bookworm",
    python="3.11",
    glibc="2.36",
    packages=(
        *_EVERYWHERE,
        "nftables",
        "dnsmasq-base",
        "bind9",  # for names whose challenge is dns-01, and for what dnsmasq cannot do wrong
        "tinyproxy-bin",  # the proxy that a CA was told to use
        "faketime",  # a node whose clock is wrong
        "curl",
    ),
)
TRIXIE = Release(
    "trixie",
    python="3.13",
    glibc="2.41",
    packages=(
        *_EVERYWHERE,
        "certbot",
        "python3-cffi-backend",  # certbot needs it by a virtual name, which debootstrap does not understand
    ),
)

STEP_USER = 900
"""The user `step`, as which step-ca runs, has this id in every node."""

# Units that cannot work in an unprivileged container, or only cost time there.
MASKED = (
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "dev-hugepages.mount",
    "systemd-modules-load.service",
    "systemd-pstore.service",
    "getty.target",
    "console-getty.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
)
# A node enables what it is for (fleet.py).
DISABLED = ("nginx.service", "named.service", "named-resolvconf.service", "certbot.timer")

# What the machine that makes it leaves in it (names of its mirror, its own name), and what only takes room.
REMOVED = (
    "etc/hostname",
    "etc/resolv.conf",
    "etc/machine-id",
    "etc/apt/sources.list",
    "etc/nginx/sites-enabled/default",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/apt",
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
)


def ensure(release: Release = BOOKWORM) -> Path:
    """Make the layer if it is not in the cache yet (a minute or two), and give its folder."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    text = f"making a root file system of Debian {release.name} (once)"
    return layers.ensure(f"debian-{release.name}-{recipe}", text, lambda layer: _make(release, layer))


def _make(release: Release, layer: Path) -> None:
    root = layer.parent / "debootstrap"
    # In process and mount namespaces of its own: whatever a package's script starts or mounts ends with it.
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    what = ("--variant=minbase", f"--include={','.join(release.packages)}", release.name)
    run([*alone, "debootstrap", *what, root, mirror()], env=proxy(), timeout=1800)
    run(["chroot", root, "useradd", "--system", "--uid", str(STEP_USER), "--user-group",
         "--home-dir", "/var/lib/step-ca", "--shell", "/usr/sbin/nologin", "step"])  # fmt: skip
    _settle_units(root)
    for name in REMOVED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / "etc" / "machine-id").touch()  # systemd fills it in; absent, it would think of a first boot
    shutil.rmtree(root / "dev")
    (root / "dev").mkdir()  # LXC fills it
    layers.copy_shifted(root, layer)


def _settle_units(root: Path) -> None:
    units = root / "etc" / "systemd" / "system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    for wants in units.glob("*.wants"):
        for name in DISABLED:
            (wants / name).unlink(missing_ok=True)


def mirror() -> str:
    """The mirror from which this machine itself gets Debian 12, or Debian's own; they all have every release."""
    try:
        told = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Identifier: Packages"])
    except Failed:
        return FALLBACK_MIRROR
    for line in told.splitlines():
        suite, component, site = line.split(maxsplit=2)
        if (suite, component) == (BOOKWORM.name, "main"):
            return site
    return FALLBACK_MIRROR


def proxy() -> dict[str, str]:
    """debootstrap's downloads obey http_proxy alone; a machine may have told only its package client."""
    settings = subprocess.run(
        ["apt-config", "shell", "http_proxy", "Acquire::http::Proxy", "https_proxy", "Acquire::https::Proxy"],
        capture_output=True,
        text=True,
        check=False,
    )
    pairs = (line.split("=", 1) for line in settings.stdout.splitlines() if "=" in line)
    return {name: value.strip("'") for name, value in pairs if value.strip("'") not in ("", "DIRECT")}

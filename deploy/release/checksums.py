"""SHA256SUMS, and its signature by an SSH key."""

import hashlib
import subprocess
from pathlib import Path

from deploy.release.revision import Failed

FILE = "SHA256SUMS"
NAMESPACE = "certagent-release"
"""What the signature is for: one that was made for something else does not pass."""


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path) -> Path:
    """List every file of the folder, as `sha256sum --check` reads it."""
    listed = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(FILE))
    file = folder / FILE
    file.write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in listed))
    return file


def sign(file: Path, key: Path) -> Path:
    """Write its signature beside it. Raises `Failed` with what ssh-keygen complains of."""
    signature = file.with_name(f"{file.name}.sig")
    signature.unlink(missing_ok=True)
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{file.name} could not be signed with {key}: {done.stderr.strip()}")
    return signature

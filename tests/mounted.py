"""Mounts over a watched file, in a mount namespace of its own. Not a test: run by one.

    unshare -m python -m tests.mounted FOLDER

Prints a word for each mount and its end that a watch saw without ever comparing by itself.
"""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from certagent.watch import open_watch, read_contents


async def main(folder: Path) -> None:
    """Mount over the file, take it off, mount over its folder, write there."""
    hosts, other, etc = folder / "etc" / "hosts", folder / "other" / "hosts", folder / "etc"
    for path, line in ((hosts, "10.0.0.1 below"), (other, "10.0.0.2 above")):
        path.parent.mkdir()
        path.write_text(line + "\n")
    async with open_watch((hosts,), timedelta(milliseconds=20), timedelta(hours=1)) as watch:
        changes = watch.changes({**read_contents((hosts,)), str(hosts): b"before"})
        async with asyncio.timeout(20):
            await anext(changes)
            for command, word, line in (
                (["mount", "--bind", str(other), str(hosts)], "over", "10.0.0.2 above"),
                (["umount", str(hosts)], "off", "10.0.0.1 below"),
                (["mount", "--bind", str(other.parent), str(etc)], "folder", "10.0.0.2 above"),
                (["sh", "-c", f"echo 10.0.0.3 inside >{hosts}"], "inside", "10.0.0.3 inside"),
            ):
                await asyncio.to_thread(subprocess.run, command, check=True)
                while (await anext(changes))[0].added != (line,):
                    pass
                print(word)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

"""The many as a command. Exit status 0 only if all of them lived as they should (see `tests.e2e.test_many`)."""

import argparse
import json

from deploy.story import witness
from tests.e2e.fleet import bring_up, is_up, wait_until_green
from tests.e2e.test_many import live


def main() -> None:
    """Bring the lab up, watch, say what was seen, take it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    if not is_up():
        bring_up()
    wait_until_green(120)
    try:
        print(json.dumps(live(minutes), indent=2))
    finally:
        witness.lab("down")


if __name__ == "__main__":
    main()

#!/usr/bin/python3 -ISXno_debug_ranges
"""/usr/local/bin/certagent. Isolated: neither the environment nor what else is installed changes what is imported. What
tracebacks would underline in a line is not kept in memory.
"""

import os
import sys

# Resolved once: an upgrade moves the link, and a running process keeps importing what it began with.
release = os.path.realpath("/opt/certagent/lib")
sys.path[:0] = [f"{release}/{part}" for part in ("certagent", "dependencies")]

from certagent.entry import main  # noqa: E402 - the path comes first

sys.exit(main())

"""Which worker runs what: a file's tests stay together, and only the first few workers bring up a lab."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

TREE = Path(__file__).parents[1]


@cache
def needs_lab(path: str) -> bool:
    """Whether some test of the file does."""
    return re.search(r"mark\.(lab|nested)\b", (TREE / path).read_text(encoding="utf-8")) is not None


class LabScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Workers with a lab take files that need one first, then whatever is left; the others never take one of those."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # the order is tiers.toml's, not the number of tests
        super().__init__(config, log)
        self._labs: int = config.option.labs

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _reschedule(self, node: WorkerController) -> None:
        if self.workqueue and not node.shutting_down and self._next_scope(node) is None:
            node.shutdown()
            return
        super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope = self._next_scope(node)
        if scope is None:
            return
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _next_scope(self, node: WorkerController) -> str | None:
        """The first file that suits the worker; None when none is left for it."""
        has_lab = int(node.gateway.id.removeprefix("gw")) < self._labs
        if not has_lab:
            return next((scope for scope in self.workqueue if not needs_lab(scope)), None)
        return next((scope for scope in self.workqueue if needs_lab(scope)), next(iter(self.workqueue), None))

"""What contributors may have git run before each commit: each hook as pre-commit runs it."""

import shlex
import subprocess
from typing import Any

import pytest
import yaml

from tests.documents import TREE

(_REPOSITORY,) = yaml.safe_load((TREE / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
HOOKS: list[dict[str, Any]] = _REPOSITORY["hooks"]


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_the_hook_can_be_run(hook: dict[str, Any]) -> None:
    """By the tools of the tests; that they find nothing is for the run itself to say."""
    assert (_REPOSITORY["repo"], hook["language"], hook["pass_filenames"]) == ("local", "system", False)
    shell, option, script = shlex.split(hook["entry"])
    assert (shell, option) == ("sh", "-c")
    asked = f"{script.partition(' certagent ')[0].partition(' --tier ')[0]} --help"
    told = subprocess.run([shell, option, asked], cwd=TREE, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stderr
    assert "--no-lab" in script, "it changes nothing on the machine but the tests' own environment"
    for word in script.split():
        if word.startswith("tests/"):
            assert (TREE / word).is_file()

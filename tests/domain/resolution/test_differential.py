"""The model against the real Go: made-up files and nameservers, one process of a compiled program each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiers import Tiers

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
CASES = sorted((HERE / "cases").glob("*.json"))

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built as the CA's official build is: CGO_ENABLED=0."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    assert go is not None, "Go is needed on the PATH: the model is compared with the real thing"
    assert os.geteuid() == 0, "root is needed: the real Go reads /etc, so it gets namespaces of its own"
    binary = tmp_path_factory.mktemp("go") / "resolver"
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=HERE / "go_resolver", env=environment, check=True)
    return binary


def test_the_model_resolves_as_go_does(resolver: Path, tiers: Tiers) -> None:
    """No disagreement. Each one that ever was is kept in cases/ and played first; the tiers' seed draws the others."""
    command = ["unshare", "-m", "-n", "-u", sys.executable, "-m", "tests.domain.resolution.play", str(resolver)]
    worlds = int(tiers.amount("tests/domain/resolution/test_differential.py"))
    arguments = [str(tiers.seed), str(worlds), *map(str, CASES)]
    finished = subprocess.run([*command, *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
    result = json.loads(finished.stdout)
    assert result["played"] == len(CASES) + worlds
    assert result["disagreements"] == []

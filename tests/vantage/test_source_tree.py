"""A checkout that means harm: everything is bounded, and what was left out is said."""

import os
import time
from pathlib import Path

import pytest

from certagent.domain.sources.survey import SourceSurvey, survey
from certagent.vantage.source_tree import CheckoutFiles

pytestmark = pytest.mark.slow

WRITES = "echo 10.0.0.1 a.b.example > /etc/hosts\n"
ALIASES = "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])


MORE = "".join(f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


def _survey(root: Path) -> tuple[SourceSurvey, float]:
    begun = time.monotonic()
    files = CheckoutFiles(root)
    found = survey(files)
    return found, time.monotonic() - begun


def _reasons(found: SourceSurvey) -> dict[str, str]:
    return {note.place.source: note.reason for note in found.notes}


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    """Loops of links, links out of the tree, pipes."""
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    outside.mkdir()
    (outside / "a.sh").write_text(WRITES, encoding="utf-8")
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "out").symlink_to(outside)
    (tree / "linked.sh").symlink_to(outside / "a.sh")
    os.mkfifo(tree / "pipe.sh")
    (tree / "true.sh").write_text(WRITES, encoding="utf-8")
    files = CheckoutFiles(tree)
    assert list(files) == ["true.sh"]
    assert [write.place for write in survey(files).writes] == [("true.sh", 1)]


def test_a_binary_file_is_none_and_a_huge_script_is_said(tmp_path: Path) -> None:
    """Fifty megabytes, of which the beginning counts."""
    (tmp_path / "binary.sh").write_bytes(b"#!/bin/sh\n\0" + WRITES.encode())
    (tmp_path / "huge.sh").write_bytes(WRITES.encode() + b"true # /etc/hosts\n" * (50 * 1024 * 1024 // 18))
    found, seconds = _survey(tmp_path)
    assert [write.place for write in found.writes] == [("huge.sh", 1)]
    assert set(_reasons(found)) == {"huge.sh"}
    assert seconds < 10


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("deep.sh", "(" * 5000 + "echo a > /etc/hosts" + ")" * 5000, "its syntax is not understood from this line on"),
        ("nested.sh", "if true; then " * 3000 + "echo a > /etc/hosts; " + "fi; " * 3000, "it is nested too deeply"),
        ("calls.sh", "f() { f; f; }\nf >> /etc/hosts\n", "its calls are nested too deeply"),
        (
            "loops.sh",
            "for a in {1..900}; do for b in {1..900}; do echo $a > /etc/hosts; done; done\n",
            "it is more complex than certagent evaluates",
        ),
        ("grows.sh", "x=aaaaaaaaaa; for a in {1..200}; do x=$x$x$x; done; echo $x > /etc/hosts\n", ""),
        ("itself.sh", ". ./itself.sh\n./itself.sh\necho a > /etc/hosts\n", "its calls are nested too deeply"),
        ("bomb.yml", f"{ALIASES}\nservices:\n  a:\n    image: x\n    extra_hosts: *a11\n", ""),
        ("deep.yml", "hosts: " + "[" * 20000, "exceeded maximum nesting depth"),
        ("flat.yml", "hosts: [\n" + "- a\n" * 10, "did not find expected node content"),
        ("deep.tf", "resource a b {\n" * 5000 + 'nameserver = "hosts"\n', "it is nested too deeply"),
        (
            "play.yml",
            f"- hosts: a\n  vars:\n    x: &a0 [y, y]\n{MORE}    z: *a11\n  tasks: [{{debug: /etc/hosts}}]\n",
            "its aliases expand to too much data",
        ),
    ],
)
def test_a_file_that_never_ends_is_given_up(tmp_path: Path, path: str, text: str, reason: str) -> None:
    """No exception, a few seconds, and the file beside it is still read."""
    (tmp_path / path).write_text(text, encoding="utf-8")
    (tmp_path / "zz.sh").write_text(WRITES, encoding="utf-8")
    found, seconds = _survey(tmp_path)
    assert _reasons(found).get(path, "") == reason
    assert ("zz.sh", 1) in {write.place for write in found.writes}
    assert seconds < 15


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(1000) %}" * 3 + "{% endfor %}" * 3,
        "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 60 + "{{ x }}",
        "{{ 'a' * 10000000000 }}{{ '%1000000000d' % 1 }}{{ 'a'.ljust(1000000000) }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% if %}",
    ],
)
def test_a_template_that_never_ends_is_given_up(tmp_path: Path, template: str) -> None:
    """Loops, doubling, nesting, and what would leave a sandbox; what it can be known to write is written."""
    play = "- hosts: a\n  tasks:\n    - template: src=t.j2 dest=/etc/hosts\n"
    play += "    - lineinfile: path=/etc/hosts line='10.0.0.1 a.b.example'\n"
    (tmp_path / "play.yml").write_text(play, encoding="utf-8")
    (tmp_path / "t.j2").write_text(template, encoding="utf-8")
    found, seconds = _survey(tmp_path)
    assert "10.0.0.1 a.b.example" in {write.text for write in found.writes}
    assert seconds < 15
    assert all(len(write.text) < 300_000 for write in found.writes)


def test_a_tree_has_its_time(tmp_path: Path) -> None:
    """What is not read any more is said."""
    (tmp_path / "a.sh").write_text(WRITES, encoding="utf-8")
    files = CheckoutFiles(tmp_path, seconds=-1)
    assert survey(files).writes == ()
    assert [note.reason for note in files.notes] == ["the time limit for this tree was reached"]


def test_a_tree_of_five_thousand_files_takes_no_ten_seconds(tmp_path: Path) -> None:
    """Scripts, playbooks, compose files and much that is none of these."""
    script = (
        "#!/bin/bash\nset -e\n" + "install() { apt-get install -y $1; }\n" * 20 + "for a in 1 2 3; do echo $a; done\n"
    )
    for number in range(5000):
        folder = tmp_path / f"part{number % 50}"
        folder.mkdir(exist_ok=True)
        if number % 5 == 0:
            (folder / f"{number}.sh").write_text(script + WRITES, encoding="utf-8")
        elif number % 5 == 1:
            play = (
                f"- hosts: h{number}\n  tasks:\n    - lineinfile: path=/etc/hosts line='10.0.0.1 n{number}.b.example'\n"
            )
            (folder / f"{number}.yml").write_text(play, encoding="utf-8")
        else:
            (folder / f"{number}.txt").write_text("hosts and resolvers\n" * 100, encoding="utf-8")
    begun = time.process_time()
    found = survey(CheckoutFiles(tmp_path))
    assert len(found.writes) == 2000
    assert time.process_time() - begun < 10

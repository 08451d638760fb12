"""The cases' own ground: what runs in a tree sees its files, and nothing of this machine's network."""

from pathlib import Path

from tests.field.tree import CASES, Tree


def test_a_command_in_a_tree_sees_its_files_and_no_network(tmp_path: Path) -> None:
    tree = Tree.of_case("05-certbot-nginx", tmp_path)
    seen = tree.run(["sh", "-c", "ls /etc/nginx /etc/letsencrypt/live; ip -brief address"])
    assert seen.stdout.split() == [
        *("/etc/letsencrypt/live:", "www.home.test", "/etc/nginx:", "nginx.conf", "sites-enabled"),
        *("lo", "UNKNOWN", "127.0.0.1/8", "::1/128"),
    ]
    assert tree.document("lint")["gateways"] == ["/etc/nginx/nginx.conf"]


def test_every_case_tells_its_story() -> None:
    cases = sorted(path for path in CASES.iterdir() if path.is_dir())
    assert len(cases) >= 43
    for case in cases:
        story = (case / "story.md").read_text()
        assert all(word in story for word in ("Source:", "Today:", "Right:")), case.name

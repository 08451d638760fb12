"""Further ways of the same kinds, one line each: (file, code) -> node, line, text, guarded."""

import pytest

from certagent.domain.sources.survey import NodeRule, survey

Told = tuple[str | None, int, str, bool | None]
SH = "a.sh"


def _told(files: dict[str, str]) -> list[Told]:
    return [(write.node, write.place.line, write.text, write.guarded) for write in survey(files).writes]


A, AG = [(None, 1, "1.1.1.1 a.x", False)], [(None, 1, "1.1.1.1 a.x", True)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("IFS=, read -ra A <<< 'a=10.1.1.1,b=10.1.1.2'\n"
         "for p in ${A[@]}; do echo ${p#*=} ${p%=*}.x >> /etc/hosts; done",
         [(None, 2, "10.1.1.1 a.x", False), (None, 2, "10.1.1.2 b.x", False)]),
        ('if [ "$(grep -c a.x /etc/hosts)" -eq 0 ]; then echo 1.1.1.1 a.x >> /etc/hosts; fi', AG),
        ("if ! getent hosts a.x >/dev/null; then echo 1.1.1.1 a.x >> /etc/hosts; fi", AG),
        ("grep a.x /etc/hosts >/dev/null 2>&1 || { echo 1.1.1.1 a.x >> /etc/hosts; }", AG),
        ("[ -f /etc/hosts ] && echo 1.1.1.1 a.x >> /etc/hosts", A),
        ("cat <<E | pct exec 103 -- tee -a /etc/hosts > /dev/null\n1.1.1.1 a.x\nE", [("103", 2, "1.1.1.1 a.x", False)]),
        ("chroot /var/lib/lxc/106/rootfs sh -c 'echo 1.1.1.1 a.x >> /etc/hosts'", [("106", 1, "1.1.1.1 a.x", False)]),
        ("echo 1.1.1.1 a.x >> /mnt/etc/hosts", A),
        ('T=$1\necho 1.1.1.1 a.x > "$T/etc/hosts"', [(None, 2, "1.1.1.1 a.x", None)]),
        ("pct exec 107 -- bash -c '\n  set -e\n  echo 1.1.1.1 a.x >> /etc/hosts\n'",
         [("107", 3, "1.1.1.1 a.x", False)]),
        ("(cd /etc && echo 1.1.1.1 a.x >> hosts)", A),
        ("cat <<'E' > /tmp/x\necho 1.1.1.1 a.x >> /etc/hosts\nE\n"
         "pct push 108 /tmp/x /root/x\npct exec 108 -- sh /root/x",
         [("108", 2, "1.1.1.1 a.x", False)]),
        ("in_ct() { local ct=$1; shift; pct exec $ct -- \"$@\"; }\nin_ct 9 sh -c 'echo 1.1.1.1 a.x >> /etc/hosts'",
         [("9", 2, "1.1.1.1 a.x", False)]),
        ("install -m644 /dev/stdin /etc/resolv.conf <<< 'nameserver 1.0.0.1'", [(None, 1, "nameserver 1.0.0.1", None)]),
        ("echo 1.1.1.1 a.x | cat - /etc/hosts > /tmp/h && mv /tmp/h /etc/hosts", A),
        ("for c in $(pct list); do pct exec $c -- sh -c 'echo 1.1.1.1 a.x >> /etc/hosts'; done",
         A),
        ("echo '1.1.1.1 a.x\n1.1.1.2 b.x' >> /etc/hosts",
         [(None, 1, "1.1.1.1 a.x", False), (None, 2, "1.1.1.2 b.x", False)]),
        ("#!/bin/sh\necho '1.1.1.1 a.x\\n1.1.1.2 b.x' >> /etc/hosts",
         [(None, 2, "1.1.1.1 a.x", False), (None, 2, "1.1.1.2 b.x", False)]),
        ("sed -i '/^# end/i 1.1.1.1 a.x' /etc/hosts", A),
        ("lxc exec web -- tee -a /etc/hosts <<< '1.1.1.1 a.x'", [("web", 1, "1.1.1.1 a.x", False)]),
        ("A=a.x\nA+=.y\necho 1.1.1.1 $A >> /etc/hosts", [(None, 3, "1.1.1.1 a.x.y", False)]),
        ("f() { echo 1.1.1.1 a.x; }\nf >> /etc/hosts", A),
    ],
)  # fmt: skip
def test_shell(code: str, expected: list[Told]) -> None:
    """What each writes."""
    assert _told({SH: f"{code}\n"}) == expected


@pytest.mark.parametrize(
    "code",
    [
        "true || echo 1.1.1.1 a.x >> /etc/hosts",
        "false && echo 1.1.1.1 a.x >> /etc/hosts",
        "A=1\nif [ $A = 2 ]; then echo 1.1.1.1 a.x >> /etc/hosts; fi",
        "while false; do echo 1.1.1.1 a.x >> /etc/hosts; done",
        "f() { return; echo 1.1.1.1 a.x >> /etc/hosts; }\nf",
        "for a in 1 2; do continue; echo 1.1.1.1 a.x >> /etc/hosts; done",
        "echo 1.1.1.1 a.x >> /etc/hosts.d/x",
        "cat <<'E'\necho 1.1.1.1 a.x >> /etc/hosts\nE",
        "ssh h cat /etc/hosts",
        "scp h:/etc/hosts .",
        "echo 'pct exec 1 -- sh -c \"echo 1.1.1.1 a.x >> /etc/hosts\"'",
        "sed -i '/a.x/d' /etc/hosts",
        "chmod 644 /etc/hosts; touch /etc/hosts; cp /etc/hosts /etc/hosts",
        "case a in b) echo 1.1.1.1 a.x >> /etc/hosts ;; esac",
        "exec true\necho 1.1.1.1 a.x >> /etc/hosts",
    ],
)
def test_shell_that_writes_nothing(code: str) -> None:
    """Dead code, text, other files, reading."""
    assert _told({SH: f"{code}\n"}) == []


def test_an_inventory_s_groups_are_known_to_a_template() -> None:
    """The usual loop over all hosts."""
    files = {
        "inventory.ini": "[ca]\nca01 ansible_host=10.0.0.10\n[web]\nweb[01:02]\n",
        "site.yml": (
            "- hosts: web\n  tasks:\n    - blockinfile:\n        dest: /etc/hosts\n        block: |\n"
            "          {% for h in groups['ca'] %}\n"
            "          {{ hostvars[h].ansible_host }} {{ h }}.x {{ hostvars[h].ansible_fqdn }}\n"
            "          {% endfor %}\n"
        ),
    }
    assert _told(files) == [(host, 7, "10.0.0.10 ca01.x <?>", True) for host in ("web01", "web02")]


def test_bootcmd_runs_at_every_start_and_runcmd_once() -> None:
    """cloud-init's own frequencies: an append of the first kind grows."""
    text = "#cloud-config\nbootcmd:\n  - echo 1.1.1.1 a.x >> /etc/hosts\nruncmd:\n  - echo 1.1.1.2 b.x >> /etc/hosts\n"
    assert _told({"user-data": text}) == [(None, 3, "1.1.1.1 a.x", False), (None, 5, "1.1.1.2 b.x", True)]


CLOUD = "#cloud-config\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("write_files:\n- path: /etc/hosts\n  append: true\n  content: 1.1.1.1 a.x\nbootcmd:\n- [sh, /p.sh]\n",
         [(None, 5, "1.1.1.1 a.x", True)]),
        ("write_files:\n- path: /p.sh\n  content: |\n    echo 1.1.1.1 a.x >> /etc/hosts\nbootcmd:\n- [sh, /p.sh]\n",
         [(None, 5, "1.1.1.1 a.x", False)]),
        ("manage_resolv_conf: true\nresolv_conf: {options: {rotate: false}}\n", []),
        ("manage_resolv_conf: 'false'\nresolv_conf: {nameservers: [1.1.1.1]}\n", []),
        ("manage_etc_hosts: no\nwrite_files:\n- {path: /etc/cloud/templates/hosts.debian.tmpl, content: 1.1.1.1 a.x}\n",
         []),
        ("runcmd: [[sh, -c, \"echo '1.1.1.1 a.x' >> /etc/hosts\"]]\n", [(None, 2, "1.1.1.1 a.x", True)]),
        ("runcmd:\n- f() { echo $1 a.x >> /etc/hosts; }\n- f 1.1.1.1\n", [(None, 3, "1.1.1.1 a.x", True)]),
        ("runcmd:\n- [exit, 0]\n- echo 1.1.1.1 a.x >> /etc/hosts\n", []),
    ],
)  # fmt: skip
def test_cloud_init(code: str, expected: list[Told]) -> None:
    """What each writes."""
    assert _told({"user-data": CLOUD + code}) == expected


@pytest.mark.parametrize("mark", ["#Cloud-Config\n", "\n#cloud-config\n", "## template: jinja\n#cloud-config\n"])
def test_each_way_of_saying_that_it_is_cloud_init_s(mark: str) -> None:
    """It asks for no more than cloud-init itself does."""
    line = mark.count("\n") + 2
    text = mark + "runcmd:\n- echo 1.1.1.1 a.x >> /etc/hosts\n"
    assert _told({"user-data": text}) == [(None, line, "1.1.1.1 a.x", True)]


def test_the_own_name_alone_is_kept_up_and_the_file_is_not_rewritten() -> None:
    """`localhost` lets all other lines of the hosts file be."""
    text = CLOUD + "manage_etc_hosts: {}\nruncmd:\n- echo 1.1.1.1 a.x >> /etc/hosts\n"
    managed = [len(survey({"user-data": text.format(value)}).managed) for value in ("localhost", "false", "true", "1")]
    assert managed == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#cloud-config-archive\n- |\n  #include\n  http://a/x\n", "is fetched at the first boot"),
        ("## template: jinja\n#cloud-config\nruncmd: [{{ ]\n", "unexpected"),
        ("#cloud-config\nruncmd: [\n", "expected"),
        ("Content-Type: multipart/mixed\n\nx\n", "defines no boundary"),
        ("#cloud-config-archive\n" + "".join(f"{' ' * n}- |\n{' ' * n} #cloud-config-archive\n" for n in range(9)),
         "nested too deeply"),
    ],
)  # fmt: skip
def test_user_data_that_cannot_be_read_is_said(text: str, reason: str) -> None:
    """With the file, and why."""
    (note,) = survey({"user-data": text}).notes
    assert (note.place.source, reason in note.reason) == ("user-data", True), note


def test_a_rule_tells_the_node_by_the_path() -> None:
    """From the end of the path, a star for any part."""
    rule = NodeRule("lxc/{node}/*.sh")
    assert [rule.node_of(path) for path in ("lxc/103/a.sh", "x/lxc/103/b.sh", "lxc/103/c/d.sh")] == ["103", "103", None]


def test_scripts_of_different_files_know_nothing_of_each_other() -> None:
    """One that writes the file anew does not guard what another appends."""
    files = {"a.sh": "echo 1.1.1.1 a.x > /etc/hosts\n", "b.sh": "echo 1.1.1.2 b.x >> /etc/hosts\n"}
    assert _told(files) == [(None, 1, "1.1.1.1 a.x", None), (None, 1, "1.1.1.2 b.x", False)]

"""The lab's commands. `exec` is not here: `run` hands it to lxc-attach itself."""

import argparse
import json
import os
import sys
import time

from deploy.lab import checkout, containers, faults, leftovers, machine, status
from deploy.lab.fleet import find
from deploy.lab.lock import alone
from deploy.lab.processes import Failed, marked
from deploy.lab.progress import say
from deploy.lab.up import bring_up


def main() -> int:
    """Run one command and give its exit status: 0 done, 1 could not, 2 wrong usage."""
    arguments = _parser().parse_args()
    try:
        arguments.work(arguments)
    except KeyboardInterrupt:
        say("interrupted; `down` clears what is there, `up` begins again")
        return 130
    except (Failed, LookupError) as failed:
        print(f"lab: {failed.args[0]}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deploy/lab/run",
        description="A fleet of six real containers for certagent to look after.",
        epilog="exec NODE -- CMD... runs a command inside a node.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring the fleet up; harmless when it is")
    up.add_argument("--bare", action="store_true", help="without certagent")
    up.set_defaults(work=_up)
    commands.add_parser("down", help="remove all of it").set_defaults(work=_down)
    for name, work, text in (
        ("start", containers.start, "start a stopped node"),
        ("stop", containers.stop, "shut a node down"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("node")
        command.set_defaults(work=lambda arguments, work=work: work(find(arguments.node)))
    for name, change, text in (
        ("fault", faults.put_in, "break the fleet in one way"),
        ("heal", faults.take_out, "mend it again"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("name", choices=faults.names(), metavar="NAME")
        command.set_defaults(work=lambda arguments, change=change: print(change(arguments.name)))
    provisioned = commands.add_parser("provision", help="run a node's set-up script, as the checkout has it")
    provisioned.add_argument("node", choices=checkout.NODES, metavar="NODE")
    provisioned.set_defaults(work=lambda arguments: print(checkout.provision(find(arguments.node))))
    listed = commands.add_parser("faults", help="the ways to break it")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(work=_faults)
    shown = commands.add_parser("status", help="the nodes and their services")
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(work=_status)
    return parser


def _up(arguments: argparse.Namespace) -> None:
    if missing := machine.find_missing():
        raise Failed(missing)
    os.environ.update(marked())
    begun = time.monotonic()
    with alone():
        bring_up(arguments.bare)
    say(f"up after {time.monotonic() - begun:.1f} s; ./deploy/lab/run status, exec NODE -- CMD, down")


def _down(arguments: argparse.Namespace) -> None:
    del arguments
    if os.geteuid() != 0:
        raise Failed("The lab needs root.")
    with alone():
        leftovers.take_down()


def _status(arguments: argparse.Namespace) -> None:
    print(json.dumps(status.read(), indent=2) if arguments.json else status.as_text(status.read()))


def _faults(arguments: argparse.Namespace) -> None:
    listed = status.read_faults()
    if arguments.json:
        print(json.dumps(listed, indent=2))
        return
    for fault in listed:
        print(f"{'*' if fault['in'] else ' '} {fault['name']:24} {fault['summary']}")


sys.exit(main())

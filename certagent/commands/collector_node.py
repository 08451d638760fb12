"""The subcommands on the collector's node: tokens, the database, notification channels, users."""

from pathlib import Path

import click

from certagent.commands.groups import CommandGroup
from certagent.commands.options import EXISTING_FILE, Answer, answer_of, answers, ask_password, usage_errors
from certagent.config import DEFAULT_COLLECTOR_PATH, load_collector


@click.group(cls=CommandGroup)
def token() -> None:
    """Manage tokens, on the collector's node."""


@token.command("add")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["agent", "authority", "operator", "viewer"]), default="agent", show_default=True
)
@click.option(
    "--certificate", metavar="IDENTIFIER", help="Issue no token: NAME authenticates with a certificate for IDENTIFIER."
)
@answers(DEFAULT_COLLECTOR_PATH)
def token_add(name: str, role: str, certificate: str | None, path: Path) -> Answer:
    """Create a token for NAME and print it, only this once."""
    from certagent.commands import token as command

    with usage_errors():
        return answer_of(command, command.add(load_collector(path), name, role, certificate))


@token.command("list")
@answers(DEFAULT_COLLECTOR_PATH)
def token_list(path: Path) -> Answer:
    """List names, roles and ages; never the tokens."""
    from certagent.commands import token as command

    return answer_of(command, command.list_(load_collector(path)))


@token.command("revoke")
@click.argument("name")
@click.option("--older", is_flag=True, help="Revoke all but the newest, to complete a rotation.")
@answers(DEFAULT_COLLECTOR_PATH)
def token_revoke(name: str, older: bool, path: Path) -> Answer:
    """Revoke the tokens of NAME."""
    from certagent.commands import token as command

    return answer_of(command, command.revoke(load_collector(path), name, older=older))


@token.command("bind")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--identifier", "identifiers", multiple=True, help="An identifier that belongs to these nodes only.")
@click.option("--address", "addresses", multiple=True, help="An address that belongs to these nodes only.")
@click.option("--fingerprint", "fingerprints", multiple=True, help="SHA-256 of the certificate that NAME presents.")
@answers(DEFAULT_COLLECTOR_PATH)
def token_bind(
    names: tuple[str, ...],
    identifiers: tuple[str, ...],
    addresses: tuple[str, ...],
    fingerprints: tuple[str, ...],
    path: Path,
) -> Answer:
    """Bind identifiers and addresses to the nodes NAME.

    Replaces their earlier bindings; tokens do not change.
    With --fingerprint, only these certificates may authenticate as NAME.
    """
    from certagent.commands import token as command

    with usage_errors():
        return answer_of(command, command.bind(load_collector(path), names, identifiers, addresses, fingerprints))


@token.command("unbind")
@click.option("--identifier", "identifiers", multiple=True, help="An identifier that is bound.")
@click.option("--address", "addresses", multiple=True, help="An address that is bound.")
@click.option("--fingerprint", "fingerprints", multiple=True, help="SHA-256 of a certificate that is bound.")
@answers(DEFAULT_COLLECTOR_PATH)
def token_unbind(
    identifiers: tuple[str, ...], addresses: tuple[str, ...], fingerprints: tuple[str, ...], path: Path
) -> Answer:
    """Remove bindings.

    Afterwards an identifier or address belongs to the node that proved it, or else to the one that reported it first.
    A certificate whose fingerprint is no longer bound is refused, and its open channel is closed.
    """
    from certagent.commands import token as command

    with usage_errors():
        return answer_of(command, command.bind(load_collector(path), (), identifiers, addresses, fingerprints))


@click.group(cls=CommandGroup)
def store() -> None:
    """Back up and restore the database, on the collector's node."""


@store.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@answers(DEFAULT_COLLECTOR_PATH)
def store_backup(file: Path, path: Path) -> Answer:
    """Copy the database into FILE while the collector runs."""
    from certagent.commands import store as command

    return answer_of(command, command.backup(load_collector(path), file))


@store.command("restore")
@click.argument("file", type=EXISTING_FILE)
@answers(DEFAULT_COLLECTOR_PATH)
def store_restore(file: Path, path: Path) -> Answer:
    """Restore a backup from FILE into an empty database."""
    from certagent.commands import store as command

    return answer_of(command, command.restore_(load_collector(path), file))


@store.command("go-back")
@click.argument("schema")
@answers(DEFAULT_COLLECTOR_PATH)
def store_go_back(schema: str, path: Path) -> Answer:
    """Put back the backup from before a migration.

    For an older version of certagent, which supports schemas up to SCHEMA.
    What was recorded since is kept in a file next to it. Used by the installer's --roll-back; stop the collector first.
    """
    from certagent.commands import store as command

    return answer_of(command, command.go_back(load_collector(path), schema))


@click.group(cls=CommandGroup)
def channel() -> None:
    """Manage notification channels, on the collector's node."""


@channel.command("test")
@click.argument("name")
@answers(DEFAULT_COLLECTOR_PATH)
def channel_test(name: str, path: Path) -> Answer:
    """Send a test message to the channel NAME."""
    from certagent.commands import channel as command

    with usage_errors():
        return answer_of(command, command.test(load_collector(path), name))


@click.group(cls=CommandGroup)
def user() -> None:
    """Manage users of the dashboard, on the collector's node."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["operator", "viewer"]), default="viewer", show_default=True)
@answers(DEFAULT_COLLECTOR_PATH)
def user_add(name: str, role: str, path: Path) -> Answer:
    """Add the user NAME.

    The password is prompted for, or read from standard input.
    """
    from certagent.commands import user as command

    with usage_errors():
        return answer_of(command, command.add(load_collector(path), name, role, ask_password()))


@user.command("passwd")
@click.argument("name")
@answers(DEFAULT_COLLECTOR_PATH)
def user_passwd(name: str, path: Path) -> Answer:
    """Change the password of NAME and end all its sessions."""
    from certagent.commands import user as command

    with usage_errors():
        return answer_of(command, command.passwd(load_collector(path), name, ask_password()))


@user.command("list")
@answers(DEFAULT_COLLECTOR_PATH)
def user_list(path: Path) -> Answer:
    """List names and roles."""
    from certagent.commands import user as command

    return answer_of(command, command.list_(load_collector(path)))


@user.command("remove")
@click.argument("name")
@answers(DEFAULT_COLLECTOR_PATH)
def user_remove(name: str, path: Path) -> Answer:
    """Remove the user NAME and end all its sessions."""
    from certagent.commands import user as command

    return answer_of(command, command.remove(load_collector(path), name))

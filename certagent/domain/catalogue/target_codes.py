"""The catalogue: what keeps a target from being written. Data only."""

from certagent.domain.catalogue.entry import Trait, entry
from certagent.domain.findings import Severity

FATAL, ERROR, WARN, INFO = Severity

_BLOCKS = Trait.OWN_INABILITY | Trait.BLOCKS_RENEWAL
_STATE = (
    "The agent's state cannot be written ({said}), so {certificate} was left unchanged.",
    "Free space on its file system, or make it writable; certagent retries automatically.",
)
_AGAIN = "certagent retries automatically."
_CHANGEABLE = "and users other than root can change {folder} (owner {owner}, mode {mode})"
_ROOT_ALONE = "make that folder writable by root only: chown root {folder}; chmod go-w {folder}."

ENTRIES = (
    entry(
        "deploy.unwritable",
        FATAL,
        meaning="The target's files, or the agent's own state, cannot be written.",
        cause="Owner, mode or mount do not allow it.",
        action="Check owner, mode and mount.",
        traits=_BLOCKS,
        explanation="{target} cannot be written[file? ({file})]: {said}.",
        fix=f"Give the agent's user write access there (owner, mode, `ReadWritePaths=` of its unit); {_AGAIN}",
        variants={
            "read_only": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Mount that file system for writing, or deploy to another folder.",
            ),
            "no_folder": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Create the folder, or name another one.",
            ),
            "state": _STATE,
            "record": (
                "{reporter} cannot write the record {record} for {identifier}: the agent could not save a note to "
                "remove it later ({said}).",
                "Free space on the file system of the agent's state, or make it writable; certagent retries "
                "automatically.",
            ),
        },
        sample={"said": "Permission denied"},
    ),
    entry(
        "deploy.foreign_folder",
        ERROR,
        meaning="The target is in the live folder of another ACME client.",
        cause=(
            "That client still owns the pair; certagent would break its renewals, or they would overwrite "
            "certagent's files."
        ),
        action="Deploy to a separate folder, or set `manage = false`.",
        traits=_BLOCKS,
        explanation="{target} is not written: {file} belongs to {owner} (see {evidence}).",
        fix="Set `manage = false` to only watch it. To take it over: stop {owner}'s renewal, make the service "
        "read the pair from a separate folder, and name that folder in the target.",
        sample={"owner": "certbot", "evidence": "/etc/letsencrypt/live"},
    ),
    entry(
        "deploy.unsafe_path",
        ERROR,
        meaning="Another user can redirect the path to the target.",
        cause="There is a link, or a file with a second name, in a folder that users other than root can change.",
        action="Name the real path, or make that folder writable by root only.",
        traits=_BLOCKS,
        variants={
            "link": (
                f"{{target}} is not written: {{file}} is a link, {_CHANGEABLE}.",
                f"Name the path that {{file}} leads to in the target, or {_ROOT_ALONE}",
            ),
            "second_name": (
                f"{{target}} is not written: {{file}} has a second hard link, {_CHANGEABLE}.",
                f"Put a copy in place of {{file}}, or {_ROOT_ALONE}",
            ),
            "exchanged": (
                f"{{target}} is not written: {{file}} was replaced while it was being created, {_CHANGEABLE}.",
                f"Find out who does that, or {_ROOT_ALONE}",
            ),
            "strangers": (
                "{target} is not written: {file}, the folder for its pairs, was created by {owner} (mode {mode}).",
                "Remove {file}, or deploy to a folder that nobody else can write to.",
            ),
        },
        sample={"folder": "/srv/app", "owner": "www-data", "mode": "0755"},
    ),
    entry(
        "deploy.unmapped_owner",
        FATAL,
        meaning="The file's owner is outside the container's ID map.",
        cause="The file was created on the host, or the configured owner does not exist here.",
        action="`chown` it on the host.",
        traits=_BLOCKS,
        explanation="{target}: {file} belongs to nobody here, because its owner on the host is outside this "
        "container's "
        "ID map; not even root may change it.",
        fix="On the host, give it to the container's root: chown 100000:100000 with the default map.",
        variants={
            "unknown": (
                "{target}: {said}.",
                "Create the user or the group, or name another one in `owner`, `group` or `reader`.",
            ),
            "outside_map": (
                "{target}: the configured owner has an ID that this container's ID map does not contain.",
                "Name a user and a group whose IDs are below 65536.",
            ),
        },
    ),
    entry(
        "deploy.disk_full",
        ERROR,
        meaning="The disk is full.",
        cause="Logs or images fill the file system.",
        action="Free space.",
        explanation="{target} cannot be written[file? ({file})]: {said}.",
        fix="Free space on that file system; certagent retries automatically.",
        variants={
            "quota": (
                "{target} cannot be written[file? ({file})]: {said}.",
                "Free space within the quota; certagent retries automatically.",
            ),
            "state": _STATE,
        },
        sample={"said": "No space left on device"},
    ),
)

#!/bin/sh
# Run inside the container by the installer: puts what came in /opt/certagent/incoming where it belongs.
#   apply ROLE DEPENDENCIES CERTAGENT COMPILED
# ROLE: agent, collector, none (upgrade what is there; where nothing is, the program alone), roll-back or uninstall
# (which need no more words). The next two name layers. COMPILED: they hold byte code.
# Idempotent: compares before it writes, and restarts only what something changed for. Says what it did, a line each.
set -eu
role=$1 dependencies=${2-} application=${3-} compiled=${4-}
home=/opt/certagent
incoming=$home/incoming
settings=/etc/certagent
user=certagent-collector
touched= # the services that something changed for

say() { echo "$*"; }

# put NAME TARGET MODE OWNER: true if the file came, and is not what was there.
put() {
    [ -e "$incoming/$1" ] || return 1
    if cmp -s "$incoming/$1" "$2" && [ "$(stat -c '%a %U:%G' "$2")" = "$3 $4" ]; then
        return 1
    fi
    install -m "$3" -o "${4%:*}" -g "${4#*:}" "$incoming/$1" "$2.new"
    mv -f "$2.new" "$2"
    say "wrote $2"
}

# The new release beside the old one, and one rename of a link from the old to the new.
switch_release() {
    release=releases/$(printf '%s' "$application $dependencies" | sha256sum | cut -c1-16)
    mkdir -p "$home/layers" "$home/$release"
    for layer in "$dependencies" "$application"; do
        if [ ! -d "$home/layers/$layer" ]; then
            [ "$compiled" = yes ] || /usr/bin/python3 -m compileall -q \
                -s "$incoming/layers" -p "$home/layers" "$incoming/layers/$layer"
            mv "$incoming/layers/$layer" "$home/layers/$layer"
        fi
    done
    ln -sfn "../../layers/$dependencies" "$home/$release/dependencies"
    ln -sfn "../../layers/$application" "$home/$release/certagent"
    # What a way back needs beside the layers: the programs and units as they came with them.
    for file in launcher certagent-agent.service certagent-collector.service; do
        install -m 644 "$incoming/$file" "$home/$release/$file"
    done
    [ "$(readlink "$home/lib" || true)" != "$release" ] || return 1
    [ ! -L "$home/lib" ] || ln -sfn "$(readlink "$home/lib")" "$home/previous"
    ln -sfn "$release" "$home/lib.new"
    mv -T "$home/lib.new" "$home/lib"
    say "certagent $(/usr/local/bin/certagent --version | sed 's/.* //') is in place"
}

# What neither the release in use nor the one before is made of.
prune() {
    current=$(readlink "$home/lib") previous=$(readlink "$home/previous" || true)
    for old in "$home"/releases/*; do
        case $old in
            "$home/$current" | "$home/$previous") ;;
            *) rm -rf "$old" ;;
        esac
    done
    kept=$(readlink -f "$home"/releases/*/dependencies "$home"/releases/*/certagent)
    for old in "$home"/layers/*; do
        case "
$kept
" in
            *"
$old
"*) ;;
            *) rm -rf "$old" ;;
        esac
    done
}

# The newest schema of the collector's database that a release knows; nothing where it does not say.
schema_of() { sed -n 's/^REVISION = "\([0-9]*\)"$/\1/p' "$home/$1/certagent/certagent/collector/sql/database.py" 2>/dev/null || true; }

# A collector that is older than its database does not start: the database from before the migration is put back, by
# the release that made it. Where that cannot be done, nothing is changed.
put_database_back() {
    is_installed collector || return 0
    older=$(schema_of "$previous") newer=$(schema_of "$(readlink "$home/lib")")
    [ -n "$older" ] && [ -n "$newer" ] && [ "$older" -lt "$newer" ] || return 0
    systemctl stop certagent-collector.service
    if ! said=$(runuser -u "$user" -- /usr/local/bin/certagent store go-back "$older" 2>&1); then
        systemctl start certagent-collector.service
        say "$said"
        exit 1
    fi
    say "$said"
}

# The release before, with its own programs and units; a second time it is the newer one again.
roll_back() {
    previous=$(readlink "$home/previous" || true)
    if [ -z "$previous" ] || [ ! -d "$home/$previous" ]; then
        say "there is no release to go back to"
        exit 1
    fi
    put_database_back
    ln -sfn "$(readlink "$home/lib")" "$home/previous"
    ln -sfn "$previous" "$home/lib.new"
    mv -T "$home/lib.new" "$home/lib"
    incoming=$home/$previous
    put launcher /usr/local/bin/certagent 755 root:root || true
    for service in agent collector; do
        is_installed $service || continue
        put "certagent-$service.service" "/etc/systemd/system/certagent-$service.service" 644 root:root || true
    done
    systemctl daemon-reload
    say "certagent $(/usr/local/bin/certagent --version | sed 's/.* //') is in place again"
    touch_services agent collector
    for service in collector agent; do
        if is_installed $service; then settle $service; fi
    done
    rm -rf "$home/incoming"
}

# Whatever is served stays: certificates and keys at their targets, and the state with the account and the pairs.
uninstall() {
    for service in agent collector; do
        unit=certagent-$service.service
        [ -e "/etc/systemd/system/$unit" ] || continue
        systemctl -q disable --now "$unit" 2>/dev/null || true
        rm -f "/etc/systemd/system/$unit"
        say "removed $unit"
    done
    systemctl daemon-reload
    rm -rf "$home" /usr/local/bin/certagent
    say "removed certagent; left: $settings, /var/lib/certagent, and every certificate where it is"
}

# On a node of both, the agent is root and keeps its state in a folder of its own below; the sticky bit keeps the
# collector from moving that away.
make_folders() {
    if [ "$role" = collector ] && [ -d /var/lib/certagent/certificates ]; then
        say "the agent here keeps its state in /var/lib/certagent, which it shares with nobody: stop it, move that to" \
            "/var/lib/certagent/agent, set state = \"/var/lib/certagent/agent\" in $settings/agent.toml, start it"
        exit 1
    fi
    mkdir -p "$settings"
    if [ "$role" = collector ] && ! getent passwd "$user" >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/certagent --no-create-home --shell /usr/sbin/nologin "$user"
        say "made the user $user"
    fi
    if getent group "$user" >/dev/null; then
        install -d -m 1770 -o root -g "$user" /var/lib/certagent
    else
        install -d -m 0700 /var/lib/certagent
    fi
}

# The collector needs a pair to listen at all, and its agent needs the collector to get one. Self-signed: nobody
# trusts it, everybody waits, and the agent replaces it.
make_placeholder() {
    [ ! -e "$settings/collector.crt" ] || return 0
    PYTHONPATH=$home/lib/dependencies /usr/bin/python3 -S "$incoming/placeholder" "$settings/collector" collector
    chown root:"$user" "$settings/collector.crt" "$settings/collector.key"
    chmod 0640 "$settings/collector.key"
    say "wrote a self-signed $settings/collector.crt, until the agent here has a better one"
}

touch_services() {
    for one in "$@"; do
        case " $touched " in
            *" $one "*) ;;
            *) touched="$touched $one" ;;
        esac
    done
}

# An agent that `certagent init --collector` has configured and `certagent join` has not given its token yet.
waits_for_token() {
    [ "$role" != agent ] && [ ! -e "$settings/token" ] && grep -q "^token_file = \"$settings/token\"" "$settings/agent.toml"
}

is_installed() { [ -e "$settings/$1.toml" ]; }

settle() { # SERVICE: have it run, with what is there now
    if [ "$1" = agent ] && waits_for_token; then
        say "the agent here has no token yet: certagent enrol NAME | certagent join, then install with --role agent"
        return
    fi
    unit=certagent-$1.service
    systemctl -q is-enabled "$unit" 2>/dev/null || systemctl -q enable "$unit"
    case " $touched " in
        *" $1 "*) act=restart ;;
        *) act=start ;;
    esac
    systemctl -q is-active "$unit" && [ "$act" = start ] && return
    if ! systemctl "$act" "$unit"; then
        say "$unit did not $act:"
        journalctl -u "$unit" -n 15 -o cat --no-pager
        exit 1
    fi
    say "${act}ed $unit"
}

# The program alone, for `certagent init` to write what the service is to be configured with.
place_program() {
    put launcher /usr/local/bin/certagent 755 root:root || true
    if switch_release; then say "no service is configured here: certagent init, then install with --role"; fi
    prune
    rm -rf "$incoming"
}

place_service() {
    make_folders
    if put launcher /usr/local/bin/certagent 755 root:root; then touch_services agent collector; fi
    if switch_release; then touch_services agent collector; fi
    if put root_ca.crt "$settings/root_ca.crt" 644 root:root; then touch_services agent; fi
    if put token "$settings/token" 600 root:root; then touch_services agent; fi
    if [ "$role" != none ]; then
        if put config "$settings/$role.toml" 644 root:root; then touch_services "$role"; fi
        is_installed "$role" || { say "there is no $settings/$role.toml: say --config"; exit 1; }
    fi
    reload=
    for service in agent collector; do
        is_installed $service || continue
        if put "certagent-$service.service" "/etc/systemd/system/certagent-$service.service" 644 root:root; then
            touch_services $service
            reload=yes
        fi
    done
    [ -z "$reload" ] || systemctl daemon-reload
    if is_installed collector; then
        make_placeholder
        settle collector
    fi
    if is_installed agent; then settle agent; fi
    prune
    rm -rf "$incoming"
}

# Two certagents in one container would share configuration, state and socket.
if [ "$(dpkg-query -W -f '${db:Status-Status}' certagent 2>/dev/null)" = installed ]; then
    say "certagent is here as a Debian package: apt upgrades and removes it, and starts with certagent init --start"
    exit 1
fi
case $role in
    roll-back) roll_back ;;
    uninstall) uninstall ;;
    none) if is_installed agent || is_installed collector; then place_service; else place_program; fi ;;
    *) place_service ;;
esac

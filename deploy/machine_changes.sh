# shellcheck shell=bash
# What deploy/setup changes on the machine, noted before it is done, and taken back by `deploy/setup --undo`. Sourced.
#
# The notes are lines of a file: `mask SERVICE`, `file PATH`, `subid PATH`, `lists`, `package NAME`. CERTAGENT_SETUP_ROOT
# is a folder in place of / for files (tests); programs are those on the PATH.

root=${CERTAGENT_SETUP_ROOT:-}
notes_folder=$root/var/lib/certagent-setup
notes=$notes_folder/changes
packages_before=$notes_folder/packages-before
granted=root:100000:65536
cluster_file=/etc/postgresql-common/createcluster.conf
cluster_text='create_main_cluster = false'

note() { mkdir -p "$notes_folder" && { grep -qxF -- "$*" "$notes" 2>/dev/null || printf '%s\n' "$*" >>"$notes"; }; }
noted() { sed -n "s/^$1 //p" "$notes" 2>/dev/null || true; }
count_notes() { if [ -e "$notes" ]; then wc -l <"$notes"; else echo 0; fi; }

# The notes after line $1 alone: what one run brought. Those before it come back at the end.
set_aside() {
    [ "$1" -gt 0 ] || return 0
    [ -e "$notes" ] || return 0
    head -n "$1" "$notes" >"$notes.kept" && tail -n "+$(($1 + 1))" "$notes" >"$notes.new" && mv "$notes.new" "$notes"
}
put_back_aside() {
    [ -e "$notes.kept" ] || return 0
    [ ! -e "$notes" ] || cat "$notes" >>"$notes.kept"
    mv "$notes.kept" "$notes"
}

list_installed() {
    dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | sort
}

# --- before it is done ------------------------------------------------------------------------------------------

is_to_be_masked() {
    [ ! -e "$root/usr/lib/systemd/system/$1.service" ] && [ ! -e "$root/lib/systemd/system/$1.service" ] &&
        [ ! -L "$root/etc/systemd/system/$1.service" ] && [ ! -e "$root/etc/systemd/system/$1.service" ]
}

# So that no later boot starts what only tests and lab use. Nothing that is there already is touched.
mask_service() {
    is_to_be_masked "$1" || return 0
    note mask "$1" && mkdir -p "$root/etc/systemd/system" && ln -s /dev/null "$root/etc/systemd/system/$1.service"
}

# Debian's package would make a database cluster of its own.
make_no_cluster() {
    [ ! -e "$root$cluster_file" ] || return 0
    note file "$cluster_file" && mkdir -p "$root${cluster_file%/*}" && echo "$cluster_text" >"$root$cluster_file"
}

# With the package uidmap installed, LXC asks newuidmap, and newuidmap asks these two files (without it root
# writes the id map itself and they stay as they are).
grant_ids() {
    local file
    command -v newuidmap >/dev/null || return 0
    for file in /etc/subuid /etc/subgid; do
        grep -qxF "$granted" "$root$file" 2>/dev/null && continue
        say "changes $file: grants root the ids 100000-165535 (uidmap is installed)"
        note subid "$file" && echo "$granted" >>"$root$file"
    done
}

# What is about to be done to the machine, before any of it is.
announce_packages() { # PACKAGE...
    local service masked=()
    for service in "${services[@]}"; do ! is_to_be_masked "$service" || masked+=("$service.service"); done
    say "changes this machine:"
    say "  installs by apt-get, after an update of its lists: $* (and what these need)"
    [ "${#masked[@]}" = 0 ] || say "  masks, so that no boot starts them: ${masked[*]}"
    [ -e "$root$cluster_file" ] || say "  writes $cluster_file: PostgreSQL's package makes no database"
    [ -e "$root/usr/sbin/policy-rc.d" ] || say "  writes /usr/sbin/policy-rc.d, only meanwhile: no package starts a service"
    say "  notes all of it in ${notes#"$root"}; deploy/setup --undo takes it back"
}

note_lists() { compgen -G "$root/var/lib/apt/lists/*_*" >/dev/null || note lists; }

note_packages_before() { [ -e "$packages_before" ] || { mkdir -p "$notes_folder" && list_installed >"$packages_before"; }; }

# Also after an installation that was cut off.
note_new_packages() {
    local name
    [ -e "$packages_before" ] || return 0
    while read -r name; do note package "$name" || return; done < <(list_installed | comm -13 "$packages_before" -)
    rm -f "$packages_before"
}

# --- taking it back -----------------------------------------------------------------------------------------------

undo_changes() { # LINES-THAT-STAY
    local kept=$1
    ! compgen -G "$root/var/lib/certagent*/complete" >/dev/null || give_up "a lab is up: deploy/lab/run down"
    note_new_packages
    if [ "$(count_notes)" -le "$kept" ]; then
        say "nothing to take back"
        return 0
    fi
    [ "$(id -u)" = 0 ] || give_up "what was changed is root's to take back: run this as root"
    set_aside "$kept"
    trap put_back_aside EXIT
    remove_packages
    remove_masks
    remove_files
    remove_ids
    remove_lists
    rm -f "$notes"
    put_back_aside
    trap - EXIT
    [ -e "$notes" ] || rmdir --ignore-fail-on-non-empty "$notes_folder"
}

# Only what was brought, and only while nothing else needs it; else everything stays as it is, the masks, too.
remove_packages() {
    local brought others data
    mapfile -t brought < <(comm -12 <(noted package | sort) <(list_installed))
    [ "${#brought[@]}" -gt 0 ] || return 0
    for data in 'lxc/*/config' 'postgresql/*/*/PG_VERSION' 'prometheus/*/wal'; do
        ! compgen -G "$root/var/lib/$data" >/dev/null ||
            give_up "nothing is taken back: /var/lib/${data%%/*} is in use; what is in it would be lost with its package"
    done
    others=$(apt-get -s purge "${brought[@]}" | sed -n 's/^\(Purg\|Remv\) \([^ ]*\).*/\2/p' | sort -u |
        comm -13 <(printf '%s\n' "${brought[@]}" "${brought[@]%%:*}" | sort -u) - | tr '\n' ' ')
    [ -z "$others" ] || give_up "nothing is taken back: other packages need what was brought: $others"
    say "removes the packages that it brought: ${brought[*]}"
    step "removing ${#brought[@]} Debian packages" purge_packages "${brought[@]}"
    sed -i '/^package /d' "$notes"
}

purge_packages() { DEBIAN_FRONTEND=noninteractive apt-get -q -y purge "$@" && apt-get -q clean; }

remove_masks() {
    local service link
    while read -r service; do
        link=$root/etc/systemd/system/$service.service
        [ "$(readlink "$link" 2>/dev/null)" = /dev/null ] || continue
        say "unmasks $service.service"
        rm -f "$link"
    done < <(noted mask)
}

remove_files() {
    local file
    while read -r file; do
        [ "$file" = "$cluster_file" ] && [ "$(cat "$root$file" 2>/dev/null)" = "$cluster_text" ] || continue
        say "removes $file"
        rm -f "$root$file"
        rmdir --ignore-fail-on-non-empty "$root${file%/*}"
    done < <(noted file)
}

remove_ids() {
    local file rest
    while read -r file; do
        grep -qxF "$granted" "$root$file" 2>/dev/null || continue
        say "takes the ids 100000-165535 out of $file"
        rest=$(grep -vxF "$granted" "$root$file" || true)
        printf '%s' "${rest:+$rest
}" >"$root$file"
    done < <(noted subid)
}

remove_lists() {
    grep -qx lists "$notes" || return 0
    say "empties /var/lib/apt/lists, as it was"
    find "$root/var/lib/apt/lists" -mindepth 1 -maxdepth 1 -type f ! -name lock -delete
}

# What is built or fetched, in the user's own folder: only when asked.
remove_cache() {
    [ -d "$cache" ] || return 0
    ! grep -qF " $cache/" /proc/self/mountinfo || give_up "a lab lies on $cache: deploy/lab/run down"
    say "removes $cache"
    rm -rf "$cache"
    rmdir "$(dirname "$cache")" 2>/dev/null || true  # an empty one was made for it, or is made again by whoever needs it
}

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of what PID 1 does again: reload, reexecution, other targets. Each is called as check_NAME ARGUMENT under
# `set -e`.

# reached TARGET: waits until systemd has no more to do than what goes on for ever.
reached() {
    tries=80
    while [ "$(property ActiveState "$1")" != active ] || [ -n "$(systemctl list-jobs --no-legend --plain)" ]; do
        [ "$tries" -gt 0 ] || die "$1 is $(property ActiveState "$1"), jobs: $(systemctl list-jobs --no-legend --plain)"
        tries=$((tries - 1))
        sleep 0.25
    done
}

check_reexec_changes_nothing() {
    generated_state > /run/boot-test.generated
    cat /proc/self/mountinfo > /run/boot-test.mountinfo
    [ -n "$(our_files)" ] || die "nothing of ours was generated to begin with"
    systemctl daemon-reexec
    generated_state > /run/boot-test.again
    changed=$(diff /run/boot-test.generated /run/boot-test.again) || die "the reexecution changed units: $changed"
    changed=$(diff /run/boot-test.mountinfo /proc/self/mountinfo) || die "the reexecution changed mounts: $changed"
    for unit in prepare-var-overlay.service var.mount; do
        same "state of $unit after it" active "$(property ActiveState "$unit")"
    done
    check_no_failed_unit
}

# Not a check but an act; what comes after it is judged with the units of the second run of the generators.
check_reload() {
    systemctl daemon-reload
}

# through:TARGET: to that target, alone, and back to multi-user.target; /var is the same overlay all the time
check_through() {
    device=$(stat -c %d /var)
    echo "before $1" > /var/foo/through
    systemctl isolate "$1"
    reached "$1"
    same "type of /var in $1" overlay "$(type_of_mount /var)"
    same 'device of /var' "$device" "$(stat -c %d /var)"
    echo "in $1" >> /var/foo/through
    systemctl isolate boot-test.target
    reached multi-user.target
    same 'mounts on /var' 1 "$(mounts_on /var)"
    same 'device of /var' "$device" "$(stat -c %d /var)"
    echo "after $1" >> /var/foo/through
    same 'what was written on the way' 3 "$(grep -c " $1\$" /var/foo/through)"
}

# A taint of Debian's own is not ours: /usr/sbin is a directory of its own there.
check_not_tainted() {
    same 'taints of the manager' '' "$(systemctl show --property Tainted --value | tr ':' '\n' | grep -v unmerged-bin)"
}

# With /var full: what is logged now can be read, or is in /run if journald is told to leave /var.
check_journal_goes_on() {
    for round in 1 2; do
        logger --tag boot-test "line $round of a full machine"
        journalctl --sync
        journalctl --boot --identifier boot-test --output cat --no-pager | grep -q "line $round of a full machine" \
            || die "line $round is not in the journal"
        [ "$round" = 2 ] || journalctl --relinquish-var
    done
    [ -n "$(find /run/log/journal -name system.journal)" ] || die "no journal in /run"
}

# Not checks but traps, for checks-can-fail.
check_var_run_is_a_directory() {
    rm -f /var/run
    mkdir /var/run
}

check_journald_is_gone() {
    systemctl mask --runtime --now systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service
}

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of units, their order and the journal. Each is called as check_NAME ARGUMENT under `set -e`.
OUR_UNITS='run-buildroot-mounts-var.mount prepare-var-overlay.service var.mount'
GENERATED='/run/systemd/generator /run/systemd/generator.early /run/systemd/generator.late'

property() {
    systemctl show --property "$1" "$2" | sed 's/^[^=]*=//'
}

# What the generators made: names, kinds, modes, link targets, contents.
generated_state() {
    for dir in $GENERATED; do
        [ -d "$dir" ] || continue
        find "$dir" -printf '%p %y %m %l\n' | sort
        find "$dir" -type f -print0 | sort -z | xargs -0 -r cksum
    done
}

# Our own output among all generators', found by name.
our_files() {
    for dir in $GENERATED; do
        [ -d "$dir" ] || continue
        find "$dir" \( -name 'run-buildroot-*' -o -name '*-overlay.service' -o -name 'fallback-*' -o -name 'var.mount*' \)
    done
}

check_no_units_of_ours() {
    if systemctl cat prepare-var-overlay.service > /dev/null 2>&1; then
        die "prepare-var-overlay.service is known"
    fi
    same 'generated files of ours' '' "$(our_files)"
}

check_units_of_ours() {
    for unit in prepare-var-overlay.service var.mount; do
        same "file of $unit" "/run/systemd/generator/$unit" "$(property FragmentPath "$unit")"
        same "state of $unit" active "$(property ActiveState "$unit")"
    done
    link=/run/systemd/generator/local-fs.target.requires/var.mount
    same 'the link of local-fs.target' ../var.mount "$(readlink "$link")"
}

check_tmpfs_unit() {
    unit=run-buildroot-mounts-var.mount
    same "file of $unit" "/run/systemd/generator.late/$unit" "$(property FragmentPath $unit)"
    same "state of $unit" active "$(property ActiveState $unit)"
}

# The unit is that of the fstab line.
check_no_tmpfs_unit() {
    unit=run-buildroot-mounts-var.mount
    [ ! -e "/run/systemd/generator.late/$unit" ] || die "there is a tmpfs unit of ours"
    same "file of $unit" "/run/systemd/generator/$unit" "$(property FragmentPath $unit)"
    same "source of $unit" /etc/fstab "$(property SourcePath $unit)"
}

# active:UNIT
check_active() {
    same "state of $1" active "$(property ActiveState "$1")"
}

# after-var-mount:UNIT, by its dependencies and by what happened
check_after_var_mount() {
    same 'state of var.mount' active "$(property ActiveState var.mount)"
    same "state of $1" active "$(property ActiveState "$1")"
    case " $(property After "$1") " in
        *' var.mount '*) ;;
        *) die "$1 is not ordered after var.mount" ;;
    esac
    mounted=$(property ActiveEnterTimestampMonotonic var.mount)
    reached=$(property ActiveEnterTimestampMonotonic "$1")
    [ "$reached" -ge "$mounted" ] || die "$1 became active at $reached, var.mount at $mounted"
}

failed_units() {
    systemctl --failed --no-legend --plain | cut -d ' ' -f 1
}

check_no_failed_unit() {
    same 'failed units' '' "$(failed_units)"
}

# failed-alone:UNIT:TEXT, dots in it are any character: the only one that failed, and its status says why
check_failed_alone() {
    same 'failed units' "${1%%:*}" "$(failed_units)"
    same 'state of the system' degraded "$(systemctl is-system-running || true)"
    property StatusText "${1%%:*}" | grep -q "${1#*:}" || die "status of ${1%%:*}: $(property StatusText "${1%%:*}")"
}

check_system_running() {
    same 'state of the system' running "$(systemctl is-system-running || true)"
}

check_reload_changes_nothing() {
    generated_state > /run/boot-test.generated
    cat /proc/self/mountinfo > /run/boot-test.mountinfo
    # On a full disk systemd-update-utmp.service has failed before (247); that is not the reload's doing.
    failed=$(failed_units)
    active=
    for unit in $OUR_UNITS; do
        # The layers of several directories may be on one file system, which is another unit then.
        [ "$(property ActiveState "$unit")" != active ] || active="$active $unit"
    done
    [ -n "$(our_files)" ] || die "nothing of ours was generated to begin with"
    for round in 1 2; do
        systemctl daemon-reload
        generated_state > /run/boot-test.again
        changed=$(diff /run/boot-test.generated /run/boot-test.again) || die "reload $round changed units: $changed"
        changed=$(diff /run/boot-test.mountinfo /proc/self/mountinfo) || die "reload $round changed mounts: $changed"
        same 'file of var.mount' /run/systemd/generator/var.mount "$(property FragmentPath var.mount)"
    done
    for unit in $active; do
        same "state of $unit after the reloads" active "$(property ActiveState "$unit")"
    done
    same 'failed units after the reloads' "$failed" "$(failed_units)"
}

# journald writes below /var, and so into the overlay
check_journal_in_var() {
    found=$(find /var/log/journal -name system.journal)
    [ -n "$found" ] || die "no journal in /var/log/journal"
}

# What systemd says of units that cannot be ordered or read, and of a generator that gave up.
check_no_complaints() {
    found=$(journalctl --boot --output=cat --no-pager | grep -E \
        'ordering cycle|deleted to break|generators?/[^ ]* (failed|terminated)|overlay.*(Unknown key|Failed to parse)') || true
    same 'complaints in the journal' '' "$found"
}

# The part of that check which also holds if our generator has something to say.
check_no_cycle() {
    found=$(journalctl --boot --output=cat --no-pager | grep -E 'ordering cycle|deleted to break') || true
    same 'cycles in the journal' '' "$found"
}

# In the ordinary case we have nothing to warn about.
check_no_warning() {
    same 'our warnings' '' "$(journalctl --boot --identifier=overlay-generator --priority=4 --output=cat --quiet --no-pager)"
}

# journal_has TEXT [OPTION]...: a dot in the text stands for any character, as there can be no blank in an argument.
journal_has() {
    text=$1
    shift
    # The kernel logs its command line, and with it the names of the checks.
    lines=$(journalctl --boot --output=cat --no-pager "$@" | grep -v 'test\.checks=') || true
    printf '%s\n' "$lines" | grep --quiet -e "$text" || die "no '$text' in the journal, only: $(printf '%s' "$lines" | tail -n 5)"
}

# warned:TEXT, at priority warning, by our identifier
check_warned() {
    journal_has "$1" --identifier=overlay-generator --priority=4..4
}

# said:TEXT, at any priority, by our identifier
check_said() {
    journal_has "$1" --identifier=overlay-generator
}

# logged:TEXT, by whomever
check_logged() {
    journal_has "$1"
}

# inactive:UNIT, not failed
check_inactive() {
    same "state of $1" inactive "$(property ActiveState "$1")"
}

# fragment:UNIT:PATH
check_fragment() {
    found=$(property FragmentPath "${1%%:*}")
    # Where /lib is a link to it, systemd looks there first up to 253.
    case $found in
        /lib/*) [ ! -L /lib ] || found=/usr$found ;;
    esac
    same "file of ${1%%:*}" "${1#*:}" "$found"
}

# drop-in:UNIT:PATH
check_drop_in() {
    case " $(property DropInPaths "${1%%:*}") " in
        *" ${1#*:} "*) ;;
        *) die "${1%%:*} has only these drop-ins: $(property DropInPaths "${1%%:*}")" ;;
    esac
}

# The rest of the checks runs in the system that comes after it. Never comes back: it is stopped like any service.
check_soft_reboot() {
    : > "$REBOOTED"
    systemctl soft-reboot
    sleep infinity
}

# Not checks but traps, for checks-can-fail.
check_made_up_lines() {
    echo '<28>overlay-generator[1]: a made-up warning' > /dev/kmsg
    echo '<28>systemd[1]: Found ordering cycle on made-up.service/start' > /dev/kmsg
    printf '%s\n' MESSAGE_ID=2d08fae7fc944a9f9f03c6bfa7415117 SYSLOG_IDENTIFIER=overlay-generator \
        'MESSAGE=a made-up event' | logger --journald
    sleep 2
    journalctl --sync
}

check_failing_unit() {
    systemd-run --quiet --unit=boot-test-failing --property=Type=oneshot false || true
    same state failed "$(property ActiveState boot-test-failing.service)"
}

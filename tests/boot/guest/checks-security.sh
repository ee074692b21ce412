# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of security modules. Each is called as check_NAME ARGUMENT under `set -e`.

check_selinux_enforcing() {
    same 'mode of SELinux' Enforcing "$(getenforce)"
}

# label_of PATH: its type
label_of() {
    stat -c %C "$1" | cut -d : -f 3
}

# label:PATH:TYPE
check_label() {
    same "type of ${1%%:*}" "${1#*:}" "$(label_of "${1%%:*}")"
}

# What restorecon would change in /var: nothing, as every file has the label that the policy has for it. The file in
# which restorecon notes what it has done does not count.
check_restorecon_finds_nothing() {
    same 'what restorecon would do' '' "$(restorecon -nvr /var 2>&1)"
}

# What docs/security-modules.md says after an update with another policy: restorecon mends all of it, in the running
# system.
check_restorecon_mends() {
    restorecon -r /var
    check_restorecon_finds_nothing
}

# All that was denied in this boot, from where it is kept: by auditd, by journald, or by the kernel alone.
denials() {
    { cat /var/log/audit/audit.log 2> /dev/null || true; journalctl --boot --output=cat --no-pager; } |
        grep -E 'avc: *denied' | grep -v permissive=1 || true
}

# no-denial-of:TEXT, in the domain, the command or the object that is denied something; a dot is any character
check_no_denial_of() {
    same "denials of $1" '' "$(denials | grep -e "$1" | head -n 5)"
}

# denied:TEXT
check_denied() {
    denials | grep --quiet -e "$1" || die "nothing of $1 was denied"
}

# domain-of:PID:TYPE
check_domain_of() {
    same "domain of ${1%%:*}" "${1#*:}" "$(cut -d : -f 3 "/proc/${1%%:*}/attr/current")"
}

# mode:PATH:MODE
check_mode() {
    same "mode of ${1%%:*}" "${1#*:}" "$(stat -c %a "${1%%:*}")"
}

# setuid-works:DIRECTORY: a program there gets its owner's rights
check_setuid_works() {
    cp /usr/bin/id "$1/boot-test-id"
    chmod 4755 "$1/boot-test-id"
    found=$(setpriv --reuid 1000 --clear-groups "$1/boot-test-id" -u)
    rm "$1/boot-test-id"
    same "effective user of a setuid program in $1" 0 "$found"
}

# device-works:DIRECTORY
check_device_works() {
    mknod -m 666 "$1/boot-test-null" c 1 3
    echo data > "$1/boot-test-null"
    rm "$1/boot-test-null"
}

# no-context-in:UNIT-FILE
check_no_context_in() {
    if found=$(grep SELinuxContext "$1"); then
        die "$1 has $found"
    fi
}

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of what an update or a reset did. Each is called as check_NAME ARGUMENT under `set -e`.

# appears:PATH, within half a minute: it is made in the background
check_appears() {
    tries=60
    while [ ! -e "$1" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "there is no $1"
        sleep 0.5
    done
}

# lists:PATH:LINE
check_lists() {
    grep -qxF "${1#*:}" "${1%%:*}" || die "${1%%:*} has no line ${1#*:}"
}

# before:UNIT:OTHER, both active, the other later
check_before() {
    first=$(property ActiveEnterTimestampMonotonic "${1%%:*}")
    second=$(property ActiveEnterTimestampMonotonic "${1#*:}")
    [ "$first" -gt 0 ] || die "${1%%:*} was never active"
    [ "$second" -ge "$first" ] || die "${1%%:*} became active at $first, ${1#*:} at $second"
}

# stages-factory-reset: what factory-reset.target wants of us is done; the target itself would reboot
check_stages_factory_reset() {
    case " $(property Wants factory-reset.target) " in
        *' overlay-generator-factory-reset.service '*) ;;
        *) die "factory-reset.target does not want our service" ;;
    esac
    systemctl start overlay-generator-factory-reset.service
    same 'what is staged' all "$(cat "$BACKING/reset")"
}

# root-is:DISK
check_root_is() {
    same 'the root' "$(readlink -f "/dev/disk/by-id/virtio-$1")" "$(findmnt --noheadings --output SOURCE /)"
}

# boots-next:SLOT
check_boots_next() {
    same 'the next slot' "$1" "$(/usr/lib/boot-test/boot-env get-primary)"
}

# install_bundle WANTED: its output is kept, and has to be what WANTED, an exit status, says.
install_bundle() {
    status=0
    rauc install /mnt/update.raucb > /run/boot-test.rauc 2>&1 || status=$?
    same "exit status of rauc install, $(tr '\n' ';' < /run/boot-test.rauc)" "$1" "$status"
}

# rauc-refuses:TEXT, what our hook says in the journal; dots stand for any character
check_rauc_refuses() {
    install_bundle 1
    grep -q 'Post-install handler error: Child process exited with code 1' /run/boot-test.rauc ||
        die "rauc install says: $(cat /run/boot-test.rauc)"
    check_said_by "rauc.service:$1"
}

# rauc-installs, and the other slot is booted next
check_rauc_installs() {
    install_bundle 0
    rauc status mark-active other
}

# restored:PATH, at the next boot
check_restored() {
    overlayctl restore "$1"
}

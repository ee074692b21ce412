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

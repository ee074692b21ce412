# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Checks of events in the journal. Each is called as check_NAME ARGUMENT under `set -e`.

# event:ID:FIELD=VALUE: one entry of ours has that MESSAGE_ID, and the field; dots in it are any character
check_event() {
    found=$(journalctl --boot --output=export SYSLOG_IDENTIFIER=overlay-generator "MESSAGE_ID=${1%%:*}")
    same "entries with ${1%%:*}" 1 "$(printf '%s\n' "$found" | grep -c '^__CURSOR=' || true)"
    printf '%s\n' "$found" | grep -qx -e "${1#*:}" || die "no ${1#*:} in: $found"
}

# no-event:ID
check_no_event() {
    same "entries with $1" '' "$(journalctl --boot --quiet --output=cat SYSLOG_IDENTIFIER=overlay-generator "MESSAGE_ID=$1")"
}

# once:TEXT, of ours, by whatever way it came there; dots in it are any character
check_once() {
    lines=$(journalctl --boot --output=cat --no-pager --identifier=overlay-generator | grep -c -e "$1" || true)
    same "lines with $1" 1 "$lines"
}

# said-by:UNIT:TEXT, also where the process was gone before journald asked for its unit
check_said_by() {
    journal_has "${1#*:}" --unit="${1%%:*}"
}

# explained:ID, by the catalog that is installed
check_explained() {
    journalctl --update-catalog
    journalctl --boot --catalog --no-pager "MESSAGE_ID=$1" | grep -q 'Defined-By: overlay-generator' ||
        die "journalctl -x does not explain $1: $(journalctl --boot --catalog --no-pager "MESSAGE_ID=$1" | tail -n 8)"
}

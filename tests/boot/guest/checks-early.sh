# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of who uses /var before local-fs.target. Each is called as check_NAME ARGUMENT under `set -e`.

# Each such unit is ordered after var.mount, and ran after it; the table is in the results of the boot.
check_early_users_wait() {
    "$LIB/early-users" "$LIB/early-users.known" > /run/boot-test.early-users 2>&1 || bad=yes
    attach early-users < /run/boot-test.early-users
    [ -z "${bad:-}" ] || die "$(grep -A 8 -m 1 '^FAULT\|^Traceback' /run/boot-test.early-users)"
}

# prepare-took:SECONDS at least, which makes it a race
check_prepare_took() {
    began=$(property InactiveExitTimestampMonotonic prepare-var-overlay.service)
    ended=$(property ActiveEnterTimestampMonotonic prepare-var-overlay.service)
    [ $((ended - began)) -ge "${1}000000" ] || die "prepare-var-overlay.service took $((ended - began)) us"
}

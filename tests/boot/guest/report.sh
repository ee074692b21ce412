# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# The lines that the host reads. Sourced; whoever sources it opens the port as descriptor 3.
PORT=/dev/virtio-ports/result
# Printed by check as its last act, looked for by shutdown-report.
# shellcheck disable=SC2034
SHUTDOWN_MARK='boot-test: the checks are over, shutting down'

# Set PORT to where the port is. Its link is made by udev, which never runs in emergency mode.
find_port() {
    [ ! -e "$PORT" ] || return 0
    for name in /sys/class/virtio-ports/*/name; do
        if [ -e "$name" ] && [ "$(cat "$name")" = result ]; then
            PORT=/dev/$(basename "$(dirname "$name")")
            return 0
        fi
    done
    return 1
}

wait_for_port() {
    tries=60
    while ! find_port; do
        [ "$tries" -gt 0 ] || return 1
        [ "$tries" -ne 60 ] || modprobe -q virtio_console || true
        tries=$((tries - 1))
        sleep 0.5
    done
}

say() {
    printf '%s\n' "$*" >&3
}

# attach NAME: everything on standard input, each line marked, so that no text can look like a result.
attach() {
    say "begin $1"
    sed 's/^/|/' >&3
    # A last line without its newline must not swallow the next word.
    say ''
    say "end $1"
}

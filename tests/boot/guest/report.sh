# shellcheck shell=sh
# The lines that the host reads. Sourced; whoever sources it opens the port as descriptor 3.
PORT=/dev/virtio-ports/result
# Printed by check as its last act, looked for by shutdown-report.
# shellcheck disable=SC2034
SHUTDOWN_MARK='boot-test: the checks are over, shutting down'

# The port is named by udev, which may be later than this.
wait_for_port() {
    tries=60
    while [ ! -e "$PORT" ]; do
        [ "$tries" -gt 0 ] || return 1
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

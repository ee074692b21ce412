# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# The times at which things were reached. Called as check_NAME ARGUMENT under `set -e`.

# boot-times:UNIT, the unit with which /var becomes writable, if any: told in microseconds since the start of systemd
check_boot_times() {
    start=$(systemctl show --property UserspaceTimestampMonotonic --value)
    for event in GeneratorsStart GeneratorsFinish; do
        told=$(systemctl show --property ${event}TimestampMonotonic --value)
        echo "info time-$event $((told - start))" >&3
    done
    set -- ${1:+"writable:$1"} flush:systemd-journal-flush.service local-fs:local-fs.target multi-user:multi-user.target
    for name in "$@"; do
        reached=$(property ActiveEnterTimestampMonotonic "${name#*:}")
        [ "${reached:-0}" -gt 0 ] || die "${name#*:} was not reached"
        echo "info time-${name%%:*} $((reached - start))" >&3
    done
    # What a generator in Python cannot do without: its start, from a disk that nobody has read yet, as at boot.
    sync
    echo 3 > /proc/sys/vm/drop_caches
    sleep 0 && date > /dev/null
    before=$(date +%s%N)
    python3 -ISB -c pass
    echo "info time-python $((($(date +%s%N) - before) / 1000))" >&3
    # The machine is switched off by force once this is read.
    echo 'info time-end 0' >&3
}

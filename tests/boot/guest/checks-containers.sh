# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of podman on and beside the overlay. Each is called as check_NAME ARGUMENT under `set -e`.
IMAGE=localhost/box
STORAGE=/var/lib/containers/storage

# podman-driver:NAME
check_podman_driver() {
    same "podman's storage driver" "$1" "$(podman info --format '{{.Store.GraphDriverName}}')"
}

# An image of one program, a volume, and a container that has written to both.
check_podman_begins() {
    mkdir -p /run/box/bin
    cp /usr/bin/busybox /run/box/bin/busybox
    tar -C /run/box -c . | podman import --quiet - $IMAGE
    podman volume create kept
    podman run --network none --name runner --volume kept:/kept $IMAGE /bin/busybox sh -c \
        '/bin/busybox echo mine > /kept/file; /bin/busybox echo mine > /own; /bin/busybox echo runs'
}

# What check_podman_begins has made is there in a later boot, and runs.
check_podman_goes_on() {
    same 'what the container says' runs "$(podman start --attach runner)"
    same 'the file in the volume' mine "$(cat "$(podman volume inspect kept --format '{{.Mountpoint}}')/file")"
    podman diff runner | grep -qx 'A /own' || die "podman diff: $(podman diff runner)"
}

# podman-fails:TEXT; dots stand for any character
check_podman_fails() {
    if found=$(podman images 2>&1); then
        die "podman does not fail: $found"
    fi
    printf '%s\n' "$found" | grep -q -e "$1" || die "it fails otherwise: $found"
}

# The cure that prepare's warning has. Mount points of podman's own stay.
check_podman_begins_anew() {
    rm -rf $STORAGE/* 2> /dev/null || true
    check_podman_begins
}

# setuid-in-volume: a program there gets its owner's rights
check_setuid_in_volume() {
    check_setuid_works "$(podman volume inspect kept --format '{{.Mountpoint}}')"
}

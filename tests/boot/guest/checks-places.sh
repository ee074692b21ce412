# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of other directories than /var, and of other mounts on it. Each is called as check_NAME ARGUMENT under `set -e`.

# overlay-on:PATH
check_overlay_on() {
    same "type of $1" overlay "$(type_of_mount "$1")"
    same "mounts on $1" 1 "$(mounts_on "$1")"
}

# type-of:PATH:TYPE
check_type_of() {
    same "type of ${1%%:*}" "${1#*:}" "$(type_of_mount "${1%%:*}")"
    same "mounts on ${1%%:*}" 1 "$(mounts_on "${1%%:*}")"
}

# not-mounted:PATH
check_not_mounted() {
    same "mounts on $1" 0 "$(mounts_on "$1")"
}

# writable:PATH
check_writable() {
    echo data > "$1/boot-test-writable"
    same 'what was written' data "$(cat "$1/boot-test-writable")"
    rm "$1/boot-test-writable"
}

# read-only:PATH
check_read_only() {
    if touch "$1/boot-test-writable" 2> /dev/null; then
        die "a file could be made in $1"
    fi
}

# holds:PATH:TEXT (dots stand for blanks in the text)
check_holds() {
    same "content of ${1%%:*}" "$(printf '%s' "${1#*:}" | tr . ' ')" "$(cat "${1%%:*}")"
}

# there:PATH
check_there() {
    [ -e "$1" ] || die "there is no $1"
}

# gone:PATH
check_gone() {
    [ ! -e "$1" ] || die "there is $1"
}

# option:PATH:WORD of a mount, its own or that of its file system
check_option() {
    options=$(findmnt --noheadings --output OPTIONS --mountpoint "${1%%:*}")
    case ",$options," in
        *",${1#*:},"*) ;;
        *) die "${1%%:*} has not ${1#*:}: $options" ;;
    esac
}

# size-at-least:PATH:MIB
check_size_at_least() {
    found=$(df --block-size=1M --output=size "${1%%:*}" | tail -n 1 | tr -d ' ')
    [ "$found" -ge "${1#*:}" ] || die "${1%%:*} has only $found MiB"
}

# source-of:PATH:WHAT
check_source_of() {
    same "source of ${1%%:*}" "${1#*:}" "$(findmnt --noheadings --output SOURCE --mountpoint "${1%%:*}")"
}

# absent-in-upper:PATH, relative; nothing is copied up before it is written to
check_absent_in_upper() {
    [ -e "/var/$1" ] || die "there is no /var/$1"
    [ ! -e "$BACKING/upper/$1" ] || die "$1 is in upper"
}

# disk-appears:DEVICE: asks the host to plug in what is late, waits for it, and for what systemd makes of it
check_disk_appears() {
    [ ! -e "$1" ] || die "$1 is there already"
    echo 'info plug-in now' >&3
    tries=80
    while [ ! -e "$1" ]; do
        [ "$tries" -gt 0 ] || die "$1 did not appear"
        tries=$((tries - 1))
        sleep 0.25
    done
    udevadm settle
    sleep 3
}

# overlay-on-top-is-refused:DIRECTORY: as a container engine does, an overlay whose upper is on ours. The kernel refuses
# it and gives this reason: to mount(8) of util-linux 2.39 and later, before that in its own log.
check_overlay_on_top_is_refused() {
    engine=$1/engine
    mkdir -p "$engine/lower" "$engine/upper" "$engine/work" "$engine/merged"
    layers="lowerdir=$engine/lower,upperdir=$engine/upper,workdir=$engine/work"
    if said=$(LC_ALL=C mount -t overlay -o "$layers" engine "$engine/merged" 2>&1); then
        umount "$engine/merged"
        die "the kernel took it"
    fi
    case "$said $(dmesg)" in
        *"not supported as upperdir"*) ;;
        *) die "refused for another reason: $said; $(dmesg | tail -n 3)" ;;
    esac
}

# make-extension: a directory that systemd-sysext(8) takes
check_make_extension() {
    release=/var/lib/extensions/test/usr/lib/extension-release.d
    mkdir -p $release /var/lib/extensions/test/usr/share/boot-test
    echo 'ID=_any' > $release/extension-release.test
    echo extended > /var/lib/extensions/test/usr/share/boot-test/file
    sync -f /var
}

check_extension_merges() {
    systemd-sysext merge
    check_extension_is_there
    systemd-sysext unmerge
}

check_extension_is_there() {
    check_holds /usr/share/boot-test/file:extended
}

# mapped-before-copy-up:PATH, with old in it: what docs/containers.md says of such a file
check_mapped_before_copy_up() {
    python3 -ISc '
import mmap, os, sys
path = sys.argv[1]
reader = os.open(path, os.O_RDONLY)
mapping = mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_READ)
writer = os.open(path, os.O_RDWR)
os.pwrite(writer, b"new", 0)
os.fsync(writer)
found = mapping[:3], os.pread(reader, 3, 0)
again = mmap.mmap(os.open(path, os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)
os.pwrite(writer, b"two", 0)
found += (again[:3],)
if found != (b"old", b"new", b"two"):
    sys.exit(f"the mapping, a read and a mapping from after the copy-up: {found}")
' "$1"
}

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of what is mounted and of what happens to files. Each is called as check_NAME ARGUMENT under `set -e`.
BACKING=/run/buildroot/mounts/var

die() {
    printf '%s\n' "$*"
    exit 1
}

# same WHAT WANTED FOUND
same() {
    [ "$2" = "$3" ] || die "$1: wanted '$2', found '$3'"
}

# mounts_on PATH: how many file systems are stacked there.
mounts_on() {
    awk -v path="$1" '$5 == path { n++ } END { print n + 0 }' /proc/self/mountinfo
}

type_of_mount() {
    findmnt --noheadings --output FSTYPE --mountpoint "$1" || echo none
}

check_var_read_only() {
    same 'mounts on /var' 0 "$(mounts_on /var)"
    if reason=$(LC_ALL=C touch /var/foo/new 2>&1); then
        die "a file could be made in /var"
    fi
    case $reason in
        *'Read-only file system'*) ;;
        *) die "touch failed otherwise: $reason" ;;
    esac
}

check_var_is_overlay() {
    same 'type of /var' overlay "$(type_of_mount /var)"
    same 'mounts on /var' 1 "$(mounts_on /var)"
}

check_var_writable() {
    echo data > /var/lib/boot-test-writable
    same 'what was written' data "$(cat /var/lib/boot-test-writable)"
    rm /var/lib/boot-test-writable
}

check_no_backing() {
    [ ! -e /run/buildroot ] || die "/run/buildroot exists"
}

check_image_content() {
    same 'content of /var/foo/bar' foobar "$(cat /var/foo/bar)"
    same 'content of foo/bar in lower' foobar "$(cat $BACKING/lower/foo/bar)"
}

check_new_file_goes_to_upper() {
    echo new > /var/foo/new
    same 'the file in upper' new "$(cat $BACKING/upper/foo/new)"
    [ ! -e $BACKING/lower/foo/new ] || die "the file is in lower too"
}

check_change_stays_out_of_lower() {
    echo changed >> /var/foo/bar
    same 'last line in /var' changed "$(tail -n 1 /var/foo/bar)"
    same 'last line in upper' changed "$(tail -n 1 $BACKING/upper/foo/bar)"
    same 'content of lower' foobar "$(cat $BACKING/lower/foo/bar)"
}

check_lower_once() {
    same 'mounts on lower' 1 "$(mounts_on $BACKING/lower)"
    same 'type of lower' squashfs "$(type_of_mount $BACKING/lower)"
}

check_lower_locked() {
    options=,$(findmnt --noheadings --output VFS-OPTIONS --mountpoint $BACKING/lower),
    for option in ro nosuid nodev noexec; do
        case $options in
            *",$option,"*) ;;
            *) die "lower is not $option: $options" ;;
        esac
    done
    same 'propagation of lower' private "$(findmnt --noheadings --output PROPAGATION --mountpoint $BACKING/lower)"
}

check_backing_private() {
    same 'mode of the backing directory' '700 0 0' "$(stat -c '%a %u %g' $BACKING)"
}

# The merged root shows upper's attributes.
check_upper_like_lower() {
    same 'mode and owner of upper' "$(stat -c '%a %u %g' $BACKING/lower)" "$(stat -c '%a %u %g' $BACKING/upper)"
    same 'mode and owner of /var' "$(stat -c '%a %u %g' $BACKING/lower)" "$(stat -c '%a %u %g' /var)"
}

# backing-type:TYPE
check_backing_type() {
    same 'type of the backing file system' "$1" "$(type_of_mount $BACKING)"
    same 'mounts on the backing directory' 1 "$(mounts_on $BACKING)"
}

# Not a check but a trap: a process that is not part of any shutdown transaction holds a file below /var.
check_hold_var_open() {
    systemd-run --quiet --property=DefaultDependencies=no sh -c 'exec 9> /var/held && exec sleep infinity'
    tries=40
    while [ ! -e /var/held ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.25
    done
    [ -e /var/held ] || die "the process does not hold its file"
}

# Not checks but traps, for checks-can-fail.
check_second_bind_on_lower() {
    mount -o bind /usr $BACKING/lower
}

# A private copy of all mounts, in a process that only systemd-shutdown ends.
check_namespace_outlives_us() {
    systemd-run --property=DefaultDependencies=no --unit=holder unshare --mount --propagation private sleep 300
    sleep 2
}

# Its mount namespace is then younger than the overlay: a copy of every mount, which must not keep a disk busy.
check_udevd_restarts() {
    before=$(systemctl show --property MainPID --value systemd-udevd)
    systemctl restart systemd-udevd.service
    after=$(systemctl show --property MainPID --value systemd-udevd)
    [ "$before" != "$after" ] || die "systemd-udevd did not restart"
    [ "$(readlink "/proc/$after/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] || die "it has no namespace of its own"
}

# The kernel has overlayfs built in, and the units know that.
check_no_module_is_loaded() {
    grep -qw overlay /proc/filesystems || die "the kernel has no overlayfs"
    [ ! -e /proc/modules ] || die "this kernel has modules"
    if grep -q modprobe /run/systemd/generator/prepare-var-overlay.service; then
        die "prepare loads a module"
    fi
}

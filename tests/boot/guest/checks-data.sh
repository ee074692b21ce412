# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=sh
# Checks of what is kept from boot to boot, and of full and cut off disks. Each is called as check_NAME ARGUMENT under
# `set -e`.
KEPT_LINES=20000
CUT_LINES=500

# A file that a later boot on the same disk must find.
check_kept_write() {
    mkdir -p /var/lib/kept
    [ ! -e /var/lib/kept/file ] || die "the file is there already"
    seq 1 $KEPT_LINES > /var/lib/kept/file
}

check_kept_read() {
    same 'checksum of the kept file' "$(seq 1 $KEPT_LINES | cksum)" "$(cksum < /var/lib/kept/file)"
}

# keep:PATH:TEXT, replace a file's content; dots stand for blanks
check_keep() {
    mkdir -p "$(dirname "${1%%:*}")"
    printf '%s\n' "${1#*:}" | tr . ' ' > "${1%%:*}"
    sync -f "${1%%:*}"
}

# remove:PATH
check_remove() {
    rm -r "$1"
}

# synced_number: the last one whose work the host knows to be on the disk.
synced_number() {
    found=$(tr ' ' '\n' < /proc/cmdline | sed -n 's/^test\.kept-synced=//p')
    echo "${found:-0}"
}

# The power is cut in the middle of this: files are made, changed, renamed and removed, and the host is told each number
# once all of its work is on the disk. write-until-cut:DEVICE: that disk is in the place of a NAND, which has no cache,
# as the kernel's block2mtd has.
check_write_until_cut() {
    work=/var/lib/cut
    mkdir -p $work
    rm -f $work/unsynced-*
    number=$(synced_number)
    while :; do
        number=$((number + 1))
        seq "$number" $((number + CUT_LINES - 1)) > "$work/new"
        sync "$work/new"
        mv "$work/new" "$work/$number"
        echo "$number" >> /var/foo/bar
        sync "$work" /var/foo/bar "$work/$number" ${1:+"$1"}
        echo "info kept-synced $number" >&3
        # Work that nobody waits for, so that the cut finds something half done.
        seq 1 30000 > "$work/unsynced-$number"
        rm -f "$work/unsynced-$((number - 3))"
    done
}

# Everything up to the last number that the host has heard of; 0 of them is no proof.
check_synced_files_are_whole() {
    [ "$(synced_number)" -gt 0 ] || die "the cut came before anything was synced"
    check_nothing_synced_is_lost
}

# The same where there may be nothing yet.
check_nothing_synced_is_lost() {
    synced=$(synced_number)
    set --
    number=0
    while [ "$number" -lt "$synced" ]; do
        number=$((number + 1))
        [ -e "/var/lib/cut/$number" ] || die "file $number of $synced is lost"
        set -- "$@" "/var/lib/cut/$number"
    done
    # A line that was appended and not synced may have left its length without its content: ext4 has zero bytes there.
    tr -d '\000' < /var/foo/bar > /run/boot-test.lines
    # One process for all of it: each one takes its time under emulation.
    awk -v synced="$synced" -v lines="$CUT_LINES" '
        FILENAME == "/run/boot-test.lines" {
            if (FNR == 1 && $0 != "foobar") { print "the first line of /var/foo/bar is " $0; bad++ }
            seen[$0] = 1
            next
        }
        FNR == 1 { parts = split(FILENAME, part, "/"); number = part[parts]; whole++ }
        $0 != number + FNR - 1 { print FILENAME ": line " FNR " is " $0; if (++bad > 5) exit 1 }
        { total++ }
        END {
            for (number = 1; number <= synced; number++)
                if (!(number in seen)) { print "line " number " of /var/foo/bar is lost"; bad++ }
            if (whole != synced || total != synced * lines) { print whole " files with " total " lines"; bad++ }
            exit bad > 0
        }' /run/boot-test.lines "$@"
    echo "info verified $synced" >&3
}

# stage-reset: what the next boot has to remove and what it has to keep. The request comes first: whenever the power
# goes, all that is to be reset has been asked for.
check_stage_reset() {
    scratch=/var/lib/scratch
    mkdir -p $scratch
    number=$(synced_number)
    echo "$number" > "$scratch/kept-$number"
    sync "$scratch/kept-$number" $scratch
    printf 'path %s\nkeep %s/kept-*\n' $scratch $scratch > "$BACKING/reset.new"
    sync "$BACKING/reset.new"
    mv "$BACKING/reset.new" "$BACKING/reset"
    sync "$BACKING"
    echo "info kept-scratch $number" >&3
    mkdir -p $scratch/junk
    seq 1 200 | sed "s|^|$scratch/junk/|" | xargs touch
}

# A boot that comes so far has done what was asked of it, even if the one before was cut off while doing it.
check_staged_reset_is_done() {
    [ ! -e "$BACKING/reset" ] || die "the request is still there: $(cat "$BACKING/reset")"
    [ ! -e /var/lib/scratch/junk ] || die "there is still something in /var/lib/scratch/junk"
    kept=$(tr ' ' '\n' < /proc/cmdline | sed -n 's/^test\.kept-scratch=//p')
    [ -z "$kept" ] || same 'what had to be kept' "$kept" "$(cat "/var/lib/scratch/kept-$kept")"
}

# fill-bytes:DIRECTORY, to the last block
check_fill_bytes() {
    dd if=/dev/zero of="$1/filler" bs=1M status=none 2> /dev/null || true
    # What is left is less than that.
    dd if=/dev/zero of="$1/filler-2" bs=512 status=none 2> /dev/null || true
    if echo data 2> /dev/null > "$1/filler-3"; then
        die "there is still room in $1: $(df "$1" | tail -n 1)"
    fi
}

# fill-inodes:DIRECTORY, to the last one
check_fill_inodes() {
    mkdir -p "$1/inodes"
    number=0
    while mkdir "$1/inodes/$number" 2> /dev/null; do
        round=0
        # Many at once, as each process takes its time.
        while [ "$round" -lt 2000 ]; do
            round=$((round + 1))
            printf '%s\n' "$1/inodes/$number/$round"
        done | xargs touch 2> /dev/null || true
        number=$((number + 1))
    done
    if touch "$1/inode" 2> /dev/null; then
        die "there is still an inode in $1: $(df -i "$1" | tail -n 1)"
    fi
}

# fill-disk:KIND:DEVICE, bytes or inodes of a disk that is mounted nowhere
check_fill_disk() {
    mkdir -p /run/boot-test.disk
    mount "${1#*:}" /run/boot-test.disk
    "check_fill_${1%%:*}" /run/boot-test.disk
    umount /run/boot-test.disk
}

# make-luks:DEVICE, with a file system in it, by the key that is in the image
check_make_luks() {
    cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1" /etc/data.key
    cryptsetup open --key-file /etc/data.key "$1" fresh
    mkfs.ext4 -q /dev/mapper/fresh
    cryptsetup close fresh
}

# Without it journald stays in /run.
check_make_journal_directory() {
    mkdir -p /var/log/journal
    sync -f /var/log
}

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every line of fstab-corpus means to us what it means to systemd-fstab-generator: what is mounted where and as which
type, and what starts it.

The generator is this machine's. Those of other releases can be tried too, each in a tree of its own with a merged /usr,
such as those that the boot tests keep:

    FSTAB_TREES=$(echo ~/.cache/overlay-generator/boot/base/*-small-*/tree | tr ' ' :) \\
        pytest tests/generator/test_fstab_differential.py tests/generator/test_transaction.py

Lines that are put together at random go the same way; FSTAB_SEED=NUMBER makes others.
"""

import os
import re
from pathlib import Path
from random import Random

import pytest

import fstabroot
from fstabroot import Mount
from overlay_generator.entries import find_version
from overlay_generator.fstab import find_hooks, find_type, read_value
from overlay_generator.gather import gather, read_generator
from overlay_generator.model import FstabEntry, Request
from overlay_generator.names import mount_unit
from product import skip_without_mount_namespace

CORPUS = Path(__file__).with_name("fstab-corpus")
TREES = ["/", *filter(None, os.environ.get("FSTAB_TREES", "").split(":"))]
_TAGS = {"LABEL": "label", "UUID": "uuid", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}
_WORDS = {
    "<CR>": "\r",
    "<NUL>": "\0",
    "<TAB>": "\t",
    "<NEL>": "\x85",
    "<VT>": "\v",
    "<BYTE>": "\udcff",
    "<FF>": "\f",
    "<FS>": "\x1c",
}


def read_corpus() -> "list[str]":
    """Each fstab of the corpus: a single line of it, or the lines between two that are braces."""
    files: list[str] = []
    block: list[str] | None = None
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("##"):
            continue
        for word, character in _WORDS.items():
            line = line.replace(word, character)
        line = re.sub(r"<(.)\*([0-9]+)>", lambda found: found[1] * int(found[2]), line)
        if line == "{":
            block = []
        elif line == "}" and block is not None:
            files.append("\n".join(block) + "\n")
            block = None
        elif block is not None:
            block.append(line)
        else:
            files.append(line + "\n")
    # A file may end without the end of a line.
    return [text.replace("<EOF>\n", "") for text in files]


_WHATS = (
    "/dev/sda1", "LABEL=x", "UUID=ABCD-EF01", 'PARTLABEL="x"', "tmpfs", "/data/up", "data/up", "//srv/share", "host:/x",
    "ubi0:data", "none", "/dev//sda1", "LABEL=", "ID=x", "LABEL=a/b", "LABEL=x\\134y", "/data/100%", "/data/../up",
    "/dev/../x", "LABEL=..", "/data/x\\134", "host:/a/../b", "/sys/x", "/dev/disk/by-label/x",
)  # fmt: skip
_WHERES = (
    "/run/buildroot/mounts/var", "/upper", "/home", "/mnt/x", "/data/local", "/", "/usr", "/var", "none", "swap",
    "./data", "/srv/up/data", "/srv/dangling", "/srv/loop", "/proc", "/run/host/a", "..", "/data/missing/../x",
    "//upper//",
)  # fmt: skip
_TYPES = (
    "ext4", "auto", "none", "tmpfs", "swap", "bind", "nfs", "nfs4", "cifs", "autofs", "ext4,xfs", "fuse.sshfs", "ubifs",
    "btrfs", "ext4\\", "nfs\r",
)  # fmt: skip
_OPTIONS = (
    "defaults", "nofail", "fail", "noauto", "auto", "nofail=1", "_netdev", "bind", "rbind", "loop", "bg", "fg", "ro",
    "x-systemd.automount", "x-systemd.wanted-by=multi-user.target", "x-systemd.required-by=a.service", "size=1M",
    "x-systemd.wanted-by=", "x-systemd.required-by=local-fs.target", "x-systemd.required-by=var.mount",
    "x-systemd.makefs", "x-systemd.growfs", "x-systemd.pcrfs", "x-systemd.validatefs", "x-systemd.rw-only",
    "x-systemd.device-timeout=0", "x-systemd.device-timeout=infinity", "x-systemd.mount-timeout=x",
    "x-systemd.mount-timeout", "x-systemd.device-timeout", "x-systemd.requires=/data", "x-systemd.requires=",
    "x-systemd.after=x", "x-systemd.before=", "x-systemd.wants=", "x-systemd.requires-mounts-for=/a/../b",
    "x-initrd.mount", "comment=systemd.automount", "x=a\\,nofail", "X-mount.subdir=a", "",
)  # fmt: skip
_NUMBERS = ("", "0 0", "0 2", "0", "0 x", "-1 +1", "0 \r2", "0 2\f", "0 2\x1c", "0 2\r", "0 2\0", "\v0 2", "0 2 # no")
_OFTEN = 0.6


def make_random(number: int, seed: int) -> "list[str]":
    """`number` files of one or two lines each, mostly for one place and of one type; always the same for a `seed`."""
    random = Random(seed)

    def choose(values: "tuple[str, ...]", usual: bool = True) -> str:
        return values[0] if usual and random.random() < _OFTEN else random.choice(values)

    def make_line() -> str:
        options = ",".join(choose(_OPTIONS, False) for _ in range(random.choice((1, 1, 2, 2, 3))))
        return " ".join((choose(_WHATS, False), choose(_WHERES), choose(_TYPES), options, choose(_NUMBERS)))

    def make_file() -> str:
        return "\n".join(make_line() for _ in range(random.choice((1, 1, 2)))) + random.choice(("\n", "\n", "", "\r\n"))

    return [make_file() for _ in range(number)]


def find_ours(root: Path, number: int) -> "dict[str, Mount]":
    environ = {"SYSTEMD_FSTAB": f"/t/{number:05}/fstab", "SYSTEMD_SYSFS_CHECK": "no"}
    entries = gather(str(root), environ, Request("/proc/cmdline", ("/var",))).entries
    version = find_version(read_generator(str(root)))
    mounts: dict[str, Mount] = {}
    taken = set()
    for entry in entries:
        if entry.fault:
            # As there is a unit of the name, the next line for the same place makes none.
            taken.add(entry.where)
        # For a longer one 247 to 250 make no unit, later ones a unit with a hash for its name; neither concerns us.
        if entry.where not in taken and len(mount_unit(entry.where)) <= 255 and is_value(entry.where):
            found = Mount(read_value(find_node(entry.what)), find_type(entry), find_links(entry, version))
            mounts.setdefault(entry.where, found)
    return mounts


def is_value(text: str) -> bool:
    """False if no unit file can have `text` as the value of Where=."""
    return text == text.strip(" \t") and "\r" not in text and "\n" not in text and not text.endswith("\\")


def find_links(entry: FstabEntry, version: int) -> "tuple[str, ...]":
    # PID 1 looks into no directory below the one of a unit.
    return tuple(sorted({f"{target}.{kind}" for target, kind in find_hooks(entry, version) if "/" not in target}))


def find_node(what: str) -> str:
    """The node that udev makes for a tag."""
    tag, equals, value = what.partition("=")
    if not equals or tag not in _TAGS:
        return what
    if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
        value = value[1:-1]
    encoded = "".join(
        one if one.isalnum() or one in "#+-.:=@_" or ord(one) > 127 else f"\\x{ord(one):02x}" for one in value
    )
    return f"/dev/disk/by-{_TAGS[tag]}/{encoded}"


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("kind", ["corpus", "random"])
def test_every_line_means_the_same_to_systemd(kind: str, tree: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root directory of its own")
    skip_without_mount_namespace()
    usr = Path(tree, "usr")
    if not (usr / fstabroot.GENERATOR).exists():
        pytest.skip(f"{usr} has no systemd-fstab-generator")
    files = read_corpus() if kind == "corpus" else make_random(400, int(os.environ.get("FSTAB_SEED", "13")))
    root = fstabroot.build_root(tmp_path, usr)
    data = [text.encode("utf-8", "surrogateescape") for text in files]
    theirs = fstabroot.run_theirs(root, usr, data)
    different = []
    for number, text in enumerate(files):
        ours = find_ours(root, number)
        if ours != theirs[number]:
            different.append(f"{text[:300]!r}\n  theirs {theirs[number]}\n  ours   {ours}")
    assert not different, f"{len(different)} of {len(files)} files differ:\n" + "\n".join(different)


def test_the_corpus_is_large() -> None:
    lines = [line for text in read_corpus() for line in text.splitlines() if line.strip() and line[0] != "#"]
    assert len(set(lines)) >= 500

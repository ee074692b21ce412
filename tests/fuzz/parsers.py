# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parsers of what a disk, a boot loader or somebody's tree holds, each as a function of bytes that may not fail.

Each raises nothing but what its docstring says, keeps what it promises, and takes a time that grows with its input.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from overlay_generator import (
    cmdline,
    config,
    decide,
    engines,
    entries,
    fstab,
    look,
    model,
    names,
    render,
    requirers,
    selinux,
)
from overlay_prepare import folder, identity, imagechange, imagenames, manifest, policy, resetrequest, stamp
from overlay_prepare.folder import Folder
from overlayctl import mounts
from overlayctl.check import unitfiles
from overlayctl.layers import index, locate
from overlayctl.save import layout

VERSIONS = (0, 247, 252, 257, 260)  # of systemd, which read fstab in other ways


@dataclass(frozen=True)
class Parser:
    """`check` is given bytes, and fails where the parser does; `words` are what its inputs are made of."""

    name: str
    check: "Callable[[bytes], object]"
    words: "tuple[bytes, ...]"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def check_fstab(data: bytes) -> None:
    """Every entry can be asked everything, for every systemd."""
    for version in VERSIONS:
        found, problems = fstab.parse(_text(data), "fstab", version)
        assert len(problems) <= 1
        fstab.is_plain(_text(data))
        for entry in found:
            assert entry.where == "" or entry.where.startswith("/")
            fstab.has_option(entry, "nofail")
            fstab.find_values(entry, "x-systemd.requires")
            fstab.find_hooks(entry, version)
            for ask in (
                fstab.find_type, fstab.is_bind, fstab.is_network, fstab.is_optional, fstab.is_noauto,
                fstab.is_automount, fstab.is_required,
            ):  # fmt: skip
                ask(entry)
            if entry.where:
                names.mount_unit(entry.where)


def check_plan(data: bytes) -> None:
    """fstab, crypttab, the text of a unit and the kernel command line of a machine: there is a plan, and its units."""
    tables = [_text(part) for part in (data + b"\x1e" * 3).split(b"\x1e")[:4]]
    request = cmdline.read_request(cmdline.split_words(tables[3]), "cmdline", ("/var", "/var/lib", "/home"))
    for version in VERSIONS[1::2]:
        found, _ = fstab.parse(tables[0], "fstab", version)
        plan = decide.decide(
            model.Inputs(
                request,
                tuple(entry for entry in found if entry.where),
                swaps=tuple(entry for entry in found if not entry.where),
                crypttab=tables[1],
                texts={"a.service": tables[2], "run-buildroot-mounts-home.mount": tables[2]},
                directories={where: model.Directory("directory") for where in request.mounts},
            )
        )
        assert len({mount.where for mount in plan.mounts}) == len(plan.mounts)
        for file in [*render.render(plan), *requirers.render_softened(plan.softened)]:
            assert not {"\0", "\n"}.intersection(file.path)
            assert ".." not in file.path.split("/")


def check_cmdline(data: bytes) -> None:
    """What is asked for are absolute paths; those that find_fault() lets through have names of their own."""
    request = cmdline.read_request(cmdline.split_words(_text(data)), "cmdline")
    for path in request.mounts + request.reset:
        assert path.startswith("/")
        if not names.find_fault(path):
            check_path(path)
    cmdline.read_request(cmdline.split_words(_text(data)), "cmdline", ("/var", "/home"))


def check_path(path: str) -> None:
    """Its flat name is one that a directory can have, and leads back."""
    if path == "/":
        return  # nobody gets as far as that with it, see decide.py
    name = names.backing_name(path)
    assert name not in ("", ".", "..")
    assert not {"/", "\0", "\n"}.intersection(name)
    if len(os.fsencode(path)) < 80:  # longer ones have a digest in them
        assert names.unflatten(name) == path


def check_config(data: bytes) -> None:
    """Settings stand for directories that can be overlaid, and what is wrong is said in a few lines."""
    found, problems = config.read_settings([("a.conf", _text(data)), ("b.conf", _text(data[::2]))])
    assert len(problems) <= 100
    assert all(len(str(problem)) < 10000 for problem in problems)
    for where in found:
        assert not names.find_fault(where)
        check_path(where)


def check_mountinfo(data: bytes) -> None:
    """Both readers of it; the table answers, also where numbers stand in a circle."""
    look.parse_mountinfo(_text(data))
    table = mounts.parse(_text(data))
    for where in ["/", "/var", "/run/buildroot/mounts/var", *(mount.where for mount in table.mounts[:20])]:
        table.top(where)
        overlay = table.overlay(where)
        if overlay:
            mounts.backing_of(overlay)
            locate.split_lower(overlay.find_option("lowerdir"))
    table.overlays()
    for mount in table.mounts[:20]:
        table.hidden_by(mount)


def check_reset(data: bytes) -> None:
    """A request is understood as a whole or not at all, comes back as it was, and its globs are soon tried."""
    text = _text(data)
    try:
        staged = resetrequest.parse(text)
    except ValueError:
        return
    for path in staged.paths + staged.keep:
        assert path.startswith("/")
        assert "\0" not in path
    again = resetrequest.parse(resetrequest.spell(staged))
    assert (again.whole, again.paths, again.keep) == (staged.whole, staged.paths, staged.keep)
    for path in ("/var", "/var/lib/app/one", "/var/" + "a" * 200, "/a/b/c/d/e/f/g/h"):
        resetrequest.is_kept(path, staged.keep)
        resetrequest.may_hold_kept(path, staged.keep)


@cache
def _backing() -> Folder:
    top = tempfile.TemporaryDirectory()
    opened = folder.open_top(top.name, lambda _text: None)
    _kept.append(top)
    return opened


_kept: "list[object]" = []  # the directory goes with the process


def _put(name: str, data: bytes) -> Folder:
    backing = _backing()
    # A new one: ext4 writes a file that was emptied to the disk when it is closed, which takes longer than the rest.
    backing.remove_file(name)
    with open(os.open(backing.reach(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    return backing


def check_image(data: bytes) -> None:
    """The note of the image: compared with this one's, and the step from it told in lines that a shell can read."""
    backing = _put(stamp.NAME, data)
    previous = stamp.read_previous(backing)
    now = "IMAGE_ID=a\nIMAGE_VERSION=1.10~rc2\nsquashfs=0:68737173\n"
    stamp.is_current(backing, now)
    assert identity.compare(previous, previous) == identity.SAME
    assert identity.compare(previous, now) in (identity.SAME, identity.OTHER, identity.UNSURE)
    before = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in previous.split("\n"))}
    version = before.get("IMAGE_VERSION", "") or before.get("BUILD_ID", "")
    assert imagechange.judge_step(version, version) in ("no", "unknown")
    there, back = imagechange.judge_step(version, "1.10~rc2"), imagechange.judge_step("1.10~rc2", version)
    assert "yes" not in (there, back) or there != back
    quoted = imagechange._quote(previous)
    assert quoted[1:-1].isascii()
    assert not set('"$`\\\n') & set(quoted[1:-1])


def check_uuids(data: bytes) -> None:
    """Words, of which no other file is made when they are written again."""
    backing = _put("uuids", data)
    found = stamp.read_uuids(backing)
    assert found is not None
    assert all(word and not word.isspace() for word in found)


def check_names(data: bytes) -> None:
    """Names that one directory can have, or none at all."""
    backing = _put(imagenames.NAME, data)
    known: dict[str, set[str]] = {"": set(), "lib": set()}
    imagenames.read(backing, known)
    below = imagenames.read_below(backing, {"", "lib"}) or {}
    for found in (*known.values(), *below.values()):
        assert not any(name in (".", "..", "./", "../", "", "/") for name in found), found
        assert not any("/" in name[:-1] or "\0" in name for name in found), found


def check_contents(data: bytes) -> None:
    """The description of the image, as it is and under a first line that is believed."""
    _put(stamp.NAME, b"IMAGE_VERSION=1\n")
    for text in (data, b"# IMAGE_VERSION=1\\n\n" + data):
        backing = _put(manifest.NAME, text)
        manifest.read(backing)
        manifest.is_current(backing, "IMAGE_VERSION=1\n")


def check_dropped(data: bytes) -> None:
    """The list of what updates have dropped: what is left has whole lines alone."""
    backing = _put(policy.LOG, data)
    policy._mend_log(backing)
    left = backing.read(policy.LOG, 1 << 21) or b""
    assert data.startswith(left)
    assert not left or left.endswith(b"\n")
    assert b"\0" not in left


def check_superblocks(data: bytes) -> None:
    """The first 8 KiB of an image: facts of one line each, which say the same when they are read again."""
    text = identity.spell_file_system(data[:8192])
    assert text.count("\n") == 1 + ("\next4-free-" in text)
    assert identity.compare(text, text) == identity.SAME
    identity.find_doubt(text, "/")
    for line in text.split("\n"):
        for offset, byte in identity._read_rows(line.partition("=")[2] if line[:3] != "xfs" else "").items():
            assert data[offset] == byte


def check_direct(data: bytes) -> None:
    """Names in `direct`, which whoever writes the disk may choose."""
    for name in _text(data).split("\n"):
        try:
            path = names.unflatten(name)
        except ValueError:
            continue
        assert path.startswith("/")


def check_lines(data: bytes) -> None:
    """What stands for a path in a line of a list."""
    text = names.unescape_line(_text(data))
    escaped = names.escape_line(text)
    assert "\n" not in escaped
    assert names.unescape_line(escaped) == text


def check_units(data: bytes) -> None:
    """A unit of the image or of the machine, modules.dep, systemd's own reader of fstab, an engine's configuration."""
    text = _text(data)
    unit = unitfiles.UnitText("a.service", "/a.service")
    unitfiles._add(unit, text, "/a.service")
    for key in unit.settings:
        unit.words(key)
        unit.is_true(key, True)
    look.find_module(data)
    look.is_built_in(data)
    look.is_registered(data)
    assert 0 <= entries.find_version(data) <= 999
    value = engines.find_value(text, "data-root")
    assert value == "" or value.startswith("/") or not value.strip("/")
    selinux.is_context(text)


def check_layout(data: bytes) -> None:
    """A case that a stranger has sent: lines, and paths in them. Raises ValueError for what is none."""
    for line in layout.parse(_text(data)):
        try:
            path = layout.unescape(line.path)
        except ValueError:
            continue
        assert layout.unescape(layout.escape(os.fsdecode(path))) == path


def check_index(data: bytes) -> None:
    """Names in the index of an overlay, values of lowerdir=."""
    for name in data.split(b"\n"):
        index._parse(name)
    locate.split_lower(_text(data))


_FSTAB = (
    b"/dev/sda1 ", b"LABEL=data ", b"/run/buildroot/mounts/var ", b"/var ", b"ext4 ", b"none ", b"swap ", b"auto ",
    b"nofail", b"defaults", b",", b"x-systemd.requires=a.service", b"x-systemd.device-timeout=10s", b"bind", b" 0 2",
    b"\n", b"\t", b"#", b"\\040", b"\\", b"\0", b"\r", b"\"", b"../", b"//", b"\xff", b"\xc2\xa0", b"x-initrd.mount",
    b"/dev/sda1 /run/buildroot/mounts/var ext4 defaults,nofail 0 2\n",
)  # fmt: skip
_PLAN = (
    *_FSTAB, b"\x1e", b"/var/up ", b"/var/lib ", b"/run/buildroot/mounts/var-lib ", b"/run/buildroot ", b"/data ",
    b"x-systemd.before=var.mount", b"x-systemd.requires-mounts-for=\"/var/lib\" /etc", b"tmpfs ", b"loop", b"%",
    b"x-systemd.required-by=var.mount", b"x-systemd.after=b.target", b"/dev/mapper/d ", b"d /dev/sda3 /var/key luks\n",
    b"/k:/dev/mapper/e", b"header=/var/h", b"luks.name=1-2=d", b"luks.key=1-2=/var/k", b"After=a.service b.target\n",
    b"What=/var/up\nWhere=/x\nType=tmpfs\n", b"RequiresMountsFor=%S/x '/var/y'\n", b"StateDirectory=a:b\n",
    b"PrivateTmp=yes\n",
)  # fmt: skip
_CMDLINE = (
    b"overlayfs.mounts=", b"overlayfs.upper=volatile", b"overlayfs-reset", b"overlayfs.reset=", b"fstab=no", b"/var",
    b",", b" ", b"\"", b"'", b"systemd.volatile=", b"systemd.mask=", b"systemd.mount-extra=", b"rd.", b"yes", b"=",
    b"/dev/sda:/var:ext4:nofail", b":", b"\\", b"/../", b"%", b"\n", b"\xff", b"/var/lib/a", b"systemd_", b"\\x2f",
)  # fmt: skip
_CONFIG = (
    b"[/var]\n", b"[/home]\n", b"[", b"]", b"Policy=", b"prune\n", b"Passthrough=", b"/var/lib/docker", b"Size=",
    b"10%\n", b"Inodes=", b"OverlayOptions=", b"Require=", b"writable persistent\n", b"Notify=", b"\\\n", b"#", b"=",
    b"\n", b"\xef\xbb\xbf", b"\xff", b";", b" ", b"\r", b"redirect_dir=on,index=off\n", b"MountOptions=nosuid\n",
)  # fmt: skip
_MOUNTINFO = (
    b"22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw\n",
    b"30 22 0:30 / /var rw - overlay overlay rw,lowerdir=/a\\:b:/c,upperdir=/u,workdir=/w\n",
    b"31 22 8:1 / /run/buildroot/mounts/var rw master:1 - ext4 /dev/sda1 rw\n", b" - ", b" ", b"\n", b"\\040", b"22",
    b"1", b"0:20", b"/var", b"\\134", b"-", b"\xff", b"-1",
)  # fmt: skip
_RESET = (
    b"all\n", b"path /var/lib/app\n", b"keep /var/lib/*\n", b"path ", b"keep ", b"/", b"/var", b"**", b"*", b"?",
    b"[!a", b"[", b"]", b"/**/", b"\\n", b"\\\\", b"\n", b"/..", b"\0", b"\xff", b"*a*a*a*a*a*a*b",
)  # fmt: skip
_IMAGE = (
    b"changing\n", b"IMAGE_ID=a\n", b"IMAGE_VERSION=", b"BUILD_ID=", b"1", b".", b"~rc", b"9" * 5000, b"0", b"\n",
    b"squashfs=0:68737173\n", b"ext4-made=", b"start=", b"verity=abc\n", b"\"", b"$(a)", b"\xff", b"\xc2\xb2",
    b"\xd9\xa3", b"=", b"a",
)  # fmt: skip
_NAMES = (b"lib/\n", b"lib/a\n", b"a", b"/", b"\n", b"..", b".", b"\\n", b"\\\\", b"\0", b"\xff", b"//", b"lib/b/\n")
_CONTENTS = (
    b"# IMAGE_VERSION=1\\n\n", b"lib\td 755 0 0 - \n", b"a\tf 644 0 0 - 0 1\n", b"\t", b"\n", b"\\n", b"\xff", b"a",
)  # fmt: skip
_SUPERBLOCKS = (
    b"hsqs", b"XFSB", b"\0" * 1024 + b"\xe2\xe1\xf5\xe0", b"\0" * (1024 + 0x38) + b"\x53\xef", b"\x31\x18\x10\x06",
    b"\0" * 16, b"\xff", b"\1" * 100, b"\0" * 7000, b"a",
)  # fmt: skip
_DIRECT = (
    b"var-lib-docker", b"-", b"_", b"__", b"_2d", b"_zz", b"..", b".full", b"~filling", b"\n", b"\xff", b"\xc2\xb2",
)  # fmt: skip
_UNITS = (
    b"[Unit]\n", b"After=a b\n", b"=", b"\\\n", b"#", b"\n", b"DefaultDependencies=no\n",
    b"kernel/fs/overlayfs/overlay.ko", b":", b" ", b"libsystemd-shared-257", b"libmount", b"\toverlay\n",
    b"data-root", b"\"", b"{", b",", b"/var",
    b"\xff", b"system_u:object_r:var_t:s0", b"\0", b"yes",
)  # fmt: skip
_LAYOUT = (
    b"d /a 0755 0 0\n", b"L /a b\n", b"f ", b"x ", b"* ", b"\\x2e", b"\\N{DEGREE SIGN}", b"\\", b"..", b"/", b" ",
    b"\n", b"\xff", b"\\u0141", b"#",
)  # fmt: skip
_INDEX = (b"00fb1d00" + b"00" * 30, b"fb", b"00", b"\n", b"zz", b":", b"\\", b"\xff", b"/a")

PARSERS = {
    parser.name: parser
    for parser in (
        Parser("fstab", check_fstab, _FSTAB),
        Parser("plan", check_plan, _PLAN),
        Parser("cmdline", check_cmdline, _CMDLINE),
        Parser("config", check_config, _CONFIG),
        Parser("mountinfo", check_mountinfo, _MOUNTINFO),
        Parser("reset", check_reset, _RESET),
        Parser("image", check_image, _IMAGE),
        Parser("uuids", check_uuids, (b"abcdef01", b"\n", b" ", b"\0", b"\xff", b"\x1c")),
        Parser("names", check_names, _NAMES),
        Parser("contents", check_contents, _CONTENTS),
        Parser("dropped", check_dropped, (b"# prune: a\n", b"/var/a\n", b"deleted ", b"\0", b"\n", b"\xff")),
        Parser("superblocks", check_superblocks, _SUPERBLOCKS),
        Parser("direct", check_direct, _DIRECT),
        Parser("lines", check_lines, (b"\\", b"\\n", b"\\\\", b"n", b"\n", b"/a", b"\xff")),
        Parser("units", check_units, _UNITS),
        Parser("layout", check_layout, _LAYOUT),
        Parser("index", check_index, _INDEX),
    )
}

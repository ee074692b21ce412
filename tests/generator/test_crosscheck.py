# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd's own tools as oracles: what they understand of the same input, and what they think of our units."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakeroot
from analyze import TREES, verify
from overlay_generator.cmdline import read_request, split_words
from overlay_generator.decide import decide
from overlay_generator.fstab import find_hooks, parse
from overlay_generator.model import Directory, FstabEntry, Inputs, Request
from overlay_generator.names import backing_path, mount_unit, normalise, parent_of, prepare_unit
from overlay_generator.render import render
from overlay_generator.write import write
from product import ENVIRON, Run

PLACES = ("normal", "early", "late")


def fstab_generator() -> str:
    for directory in ("/usr/lib/systemd/system-generators", "/lib/systemd/system-generators"):
        if os.access(f"{directory}/systemd-fstab-generator", os.X_OK):
            return f"{directory}/systemd-fstab-generator"
    pytest.skip("systemd-fstab-generator is not installed")


def run_fstab_generator(fstab: Path, cmdline: str, out: Path) -> "subprocess.CompletedProcess[str]":
    environ = {
        **ENVIRON,
        "SYSTEMD_FSTAB": str(fstab),
        "SYSTEMD_PROC_CMDLINE": cmdline,
        "SYSTEMD_SYSFS_CHECK": "no",
        "SYSTEMD_LOG_TARGET": "console",
    }
    command = [fstab_generator(), *make_places(out)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def make_places(out: Path) -> "list[str]":
    for name in PLACES:
        (out / name).mkdir(parents=True, exist_ok=True)
    return [str(out / name) for name in PLACES]


def settings_of(unit: Path) -> "dict[str, str]":
    lines = (line for line in unit.read_text(encoding="utf-8").split("\n") if "=" in line)
    return {key: value.replace("%%", "%") for key, _, value in (line.partition("=") for line in lines)}


def mounts_in(out: Path) -> "dict[str, tuple[str, str, str]]":
    """Where each mount unit in out/normal mounts: its type, its options, and how local-fs.target starts it."""
    found = {}
    target = out / "normal/local-fs.target"
    for unit in (out / "normal").glob("*.mount"):
        links = [kind for kind in ("wants", "requires") if Path(f"{target}.{kind}", unit.name).is_symlink()]
        values = settings_of(unit)
        found[normalise(values["Where"])] = (values.get("Type", ""), values.get("Options", ""), " ".join(links))
    return found


def expected_of(entries: "Iterable[FstabEntry]") -> "dict[str, tuple[str, str, str]]":
    return {
        entry.where: (
            entry.fstype if entry.fstype != "auto" else "",
            "" if entry.options == "defaults" else entry.options,
            next((kind for target, kind in find_hooks(entry) if target == "local-fs.target"), ""),
        )
        for entry in entries
        if entry.where
    }


NAME = st.text(st.sampled_from("ab-_.%é中\u00a0 \\'\":,#$"), min_size=1, max_size=6).map(lambda text: f"x{text}x")
# A directory that exists nowhere: fstab-generator follows symbolic links of this machine.
WHERE = st.lists(NAME, min_size=1, max_size=3).map(lambda names: "/overlay-generator-test/" + "/".join(names))
SLASHES = st.sampled_from(["", "/", "//", "/."])
FSTYPE = st.sampled_from(["ext4", "xfs", "tmpfs", "auto", "btrfs"])
OPTIONS = st.lists(st.sampled_from(["defaults", "nofail", "noauto", "noatime", "size=10%", "xnofail"]), unique=True)
BLANK = st.sampled_from([" ", "\t", "  \t"])


def escape(text: str) -> str:
    return text.replace("\\", "\\134").replace(" ", "\\040")


@st.composite
def line(draw: st.DrawFn) -> str:
    where = escape(draw(WHERE)) + draw(SLASHES)
    options = ",".join(draw(OPTIONS)) or "defaults"
    return draw(BLANK).join(["/dev/sdz1", where, draw(FSTYPE), options, "0", "0"])


OTHER = st.sampled_from(
    ["", " # x /overlay-generator-test/comment ext4", "/dev/sdz none swap sw", "x /misc-test autofs defaults", "\t"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(line() | line() | OTHER, max_size=12))
def test_fstab_is_read_as_systemd_fstab_generator_reads_it(lines: "list[str]") -> None:
    text = "".join(f"{one}\n" for one in lines)
    with tempfile.TemporaryDirectory() as top:
        fstab, out = Path(top, "fstab"), Path(top, "out")
        fstab.write_text(text, encoding="utf-8")
        result = run_fstab_generator(fstab, "", out)
        theirs = mounts_in(out)
        names = {path.name for path in (out / "normal").glob("*.mount")}
    entries, problems = parse(text, str(fstab))
    # The first of two lines for one place counts, for both.
    entries = list({entry.where: entry for entry in reversed(entries) if entry.where}.values())
    assert problems == []
    if len(entries) == len([one for one in lines if one.startswith("/dev/sdz1")]):
        assert result.returncode == 0, result.stderr
    assert theirs == expected_of(entries)
    assert names == {mount_unit(entry.where) for entry in entries}


@pytest.mark.parametrize(
    "text",
    [
        "x /overlay-generator-test ext4\n",
        "x /overlay-generator-test\n",
        "x /overlay-generator-test ext4 nofail\r\n",
        "x /overlay-generator-test ext4 nofail 0 2\r\n",
        "x /overlay-generator-test/\\011tab ext4 nofail\n",
        "x overlay-generator-test ext4 nofail\n",
        "lonely\n",
        "x /overlay-generator-test ext4 no\\040fail,nofail",
    ],
)
def test_an_odd_fstab_line_means_the_same_to_both(text: str, tmp_path: Path) -> None:
    (tmp_path / "fstab").write_bytes(text.encode())
    run_fstab_generator(tmp_path / "fstab", "", tmp_path / "out")
    theirs = {where: link for where, (_, _, link) in mounts_in(tmp_path / "out").items()}
    entries, _ = parse(text, "fstab")
    assert theirs == {where: link for where, (_, _, link) in expected_of(entries).items()}


def version() -> int:
    tool = shutil.which("systemctl")
    if not tool:
        pytest.skip("systemctl is not installed")
    found = re.match(r"systemd ([0-9]+)", subprocess.run([tool, "--version"], capture_output=True, text=True).stdout)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    "cmdline",
    [
        "systemd.mount-extra=/dev/sdz1:/overlay-generator-test:ext4:nofail",
        "systemd.mount-extra=/dev/sdz1:/overlay-generator-test",
        r"systemd.mount-extra=/dev/sdz1:/overlay-generator-test/a\x20b:ext4",
        r"systemd.mount-extra=/dev/sdz1:/overlay-generator-test/a\040b\x3ac:ext4:noauto",
        "'systemd.mount-extra=x:/overlay-generator-test/a b:tmpfs' systemd.mount-extra=y:/overlay-generator-test",
        "systemd.mount-extra=/overlay-generator-test",
        "rd.systemd.mount-extra=x:/overlay-generator-test:ext4",
        "systemd.mount_extra=/dev/sdz1:/overlay-generator-test:ext4",
    ],
)
def test_mount_extra_is_read_as_systemd_fstab_generator_reads_it(cmdline: str, tmp_path: Path) -> None:
    if version() < 254:
        pytest.skip(f"systemd.mount-extra= came with systemd 254, this is {version()}")
    run_fstab_generator(tmp_path / "missing", cmdline, tmp_path / "out")
    theirs = {where: link for where, (_, _, link) in mounts_in(tmp_path / "out").items()}
    request = read_request(split_words(cmdline), "/proc/cmdline")
    assert theirs == {where: link for where, (_, _, link) in expected_of(request.entries).items()}


def case(name: str, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    fakeroot.build(next(fakeroot.CASES.glob(name + "-*")), root)
    return root


def run_theirs(root: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    return run_fstab_generator(root / "etc/fstab", (root / "proc/cmdline").read_text(), out)


def found(out: Path) -> "dict[str, bytes]":
    return {
        str(path.relative_to(out)): os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in out.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("name", ["20", "21", "22", "25", "26", "27"])
def test_beside_systemd_fstab_generator_the_order_does_not_matter(name: str, run: Run, tmp_path: Path) -> None:
    root = case(name, tmp_path)

    def ours(out: str) -> None:
        result = run("--root", root, *make_places(tmp_path / out))
        assert result.returncode == 0, result.stderr

    def theirs(out: str) -> None:
        result = run_theirs(root, tmp_path / out)
        assert result.returncode == 0, result.stderr

    for one in (ours, theirs):
        one(one.__name__)
    for out, order in (("a", (ours, theirs)), ("b", (theirs, ours))):
        for one in order:
            one(out)
    alone = found(tmp_path / "ours"), found(tmp_path / "theirs")
    assert not set(alone[0]) & set(alone[1])
    assert not set(map(os.path.basename, alone[0])) & set(map(os.path.basename, alone[1]))
    assert found(tmp_path / "a") == found(tmp_path / "b") == {**alone[0], **alone[1]}


FEW = ["01", "05", "06", "20", "21", "27", "60", "61", "62", "63", "64"]
# Not those that fstab itself spoils: no UTF-8, ten thousand lines (minutes), and a unit that is required and not there.
SPOILT = ("43", "44", "49", "4a")
ALL = sorted({path.name[:2] for path in fakeroot.CASES.iterdir() if path.name != "common"} - {*SPOILT})


# Elsewhere as well, as some are noticed by older releases alone.
@pytest.mark.parametrize(("tree", "name"), [(tree, name) for tree in TREES for name in (FEW if tree == "/" else ALL)])
def test_systemd_analyze_has_no_complaint(name: str, tree: str, run: Run, tmp_path: Path) -> None:
    root = case(name, tmp_path)
    (tmp_path / "units").mkdir()
    # 1 where a case is about a mistake: what can be done is done all the same.
    assert run("--root", root, tmp_path / "units").returncode == (0 if name in FEW else mock.ANY)
    if (root / "etc/fstab").is_file():
        run_theirs(root, tmp_path / "theirs")
        shutil.copytree(tmp_path / "theirs/normal", tmp_path / "units", symlinks=True, dirs_exist_ok=True)
    assert verify(tmp_path / "units", tree) == []


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(
    ("old", "new"),
    [("Where=/srv/100%%", "Where=/srv/100%%x"), ("Type=overlay", "Type=overlay\nNonsense=1"), ("%%", "%!")],
)
def test_systemd_analyze_would_have_complained(old: str, new: str, tree: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    run("--root", case("61", tmp_path), tmp_path / "units")
    unit = tmp_path / "units" / mount_unit("/srv/100%")
    unit.write_text(unit.read_text().replace(old, new))
    assert verify(tmp_path / "units", tree)


ODD = [
    "/srv/a b", "/srv/ a", "/srv/100%", "/srv/%n", "/srv/%%", "/srv/$HOME", "/srv/${HOME}", "/srv/$$", "/srv/it's",
    '/srv/"it"', "/srv/'", '/srv/"', "/srv/a\\b", "/srv/\\x20", "/srv/\\\\a", "/srv/a;b", "/srv/;", "/srv/a ; b",
    "/srv/a=b", "/srv/a:b", "/srv/a@b", "/srv/*", "/srv/~", "/srv/|", "/srv/!", "/srv/-", "/srv/.a", "/.a", "/srv/#",
    "/srv/\u00e9", "/srv/a\u00a0b", "/srv/\u4e2d", "/srv/\U0001f600", "/srv/n n/'c %d' \\ $e/f", "/srv/[Unit]", "/{}/-",
]  # fmt: skip


def read_back(units: str, empty: Path) -> "dict[str, list[str]]":
    """What systemd makes of the directory `units`: by the name of the unit, its properties as it prints them."""
    places = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
    manager = next((path for path in places if os.access(path, os.X_OK)), "")
    if not manager or os.geteuid() != 0:
        pytest.skip("needs systemd, and root to start it as somebody who can change nothing")
    environ = {**ENVIRON, "HOME": "/", "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_GENERATOR_PATH": str(empty)}
    command = [manager, "--test", "--system", "--unit=local-fs.target"]
    result = subprocess.run(command, env=environ, user=65534, group=65534, capture_output=True, check=False)
    blocks = [block.partition(":\n") for block in result.stdout.decode().split("-> Unit ")[1:]]
    dump = {name: [line.strip() for line in text.split("\n")] for name, _, text in blocks}
    if "local-fs.target" not in dump:
        pytest.skip(f"systemd --test shows no units here: {result.stderr.decode()}")
    return dump


def test_systemd_reads_back_every_odd_path_as_it_was(tmp_path: Path) -> None:
    directories = {path: Directory("unseen") for path in ODD}
    plan = decide(Inputs(Request("/proc/cmdline", tuple(ODD)), directories=directories))
    assert plan.skipped == ()
    with tempfile.TemporaryDirectory() as units:
        os.chmod(units, 0o755)
        assert write(render(plan), {"normal": units, "late": units}) == []
        dump = read_back(units, tmp_path)
    for path in ODD:
        mount, prepare, backing = dump[mount_unit(path)], dump[prepare_unit(path)], backing_path(path)
        assert f"Where: {path}" in mount
        assert f"Description: Overlay on {path}" in mount
        assert f"Wants: {mount_unit(backing)} (origin-file)" in prepare
        assert parent_of(path) == "/" or f"RequiresMountsFor: {parent_of(path)} (origin-file)" in prepare
        assert f"ConditionPathIsMountPoint: !{path} untested" in prepare
        assert f"Requires: {mount_unit(path)} (origin-file)" in dump["local-fs.target"]
        lines = [line.partition("Command Line: ")[2] for line in prepare if line.startswith("Command Line: ")]
        # "$$" becomes "$" when the service is started.
        words = [[word.replace("\\$", "$").replace("$$", "$") for word in shlex.split(line)] for line in lines]
        library = "/usr/lib/overlay-generator"
        assert [line[:2] for line in words] == [["/bin/sh", "-c"], ["/bin/umount", "-q"]]
        options = ["--adapt=yes", f"--fallback=mode=0700,nosuid,nodev,size={plan.size}%"]
        assert words[0][3:] == [path, f"{library}/prepare", f"--mount={backing}", *options, path, backing]
        assert f'[ "$w" != {backing} ]' not in words[0][2]
        assert words[0][2].endswith('exec /usr/bin/python3 -ISB "$@"')


@pytest.mark.parametrize("tree", TREES)
def test_systemd_analyze_has_no_complaint_about_the_installed_units(tree: str, image: Path, tmp_path: Path) -> None:
    shutil.copytree(image / "usr/lib/systemd/system", tmp_path / "units", symlinks=True)
    # The machine that tests has none of our programs.
    assert [line for line in verify(tmp_path / "units", tree) if "is not executable" not in line] == []

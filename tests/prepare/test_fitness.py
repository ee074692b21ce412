# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a backing file system is the wanted one and fit: by what mountinfo says, and tried on real ones."""

import contextlib
import errno
import os
import subprocess
from pathlib import Path

import pytest

from children import list_children
from hold import hold
from overlay_generator.model import Mounted
from overlay_generator.render import OPTIONS_PERSISTENT
from overlay_prepare import fitness
from overlay_prepare.fitness import check_work, find_mounted, probe, verify
from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable

AT = "/run/buildroot/mounts/var"


def test_the_topmost_mount_counts(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 8:1 / {AT} rw - ext4 /dev/a rw\n2 1 0:9 / {AT} rw - tmpfs tmpfs rw\n")
    assert find_mounted(AT, str(mountinfo)).fstype == "tmpfs"
    with pytest.raises(Unusable, match="nothing is mounted at /mnt"):
        find_mounted("/mnt", str(mountinfo))


@pytest.mark.parametrize("wanted", ["ext4", "", "auto", "none", "xfs,ext4"])
def test_the_wanted_type_is_taken(wanted: str) -> None:
    verify(Mounted(AT, "ext4", "rw"), wanted)


@pytest.mark.parametrize(
    ("mounted", "wanted", "text"),
    [
        (Mounted(AT, "tmpfs", "rw"), "ext4", "tmpfs is mounted at .*, and fstab wants ext4"),
        (Mounted(AT, "vfat", "rw"), "auto", "vfat at .* can't hold an upper layer: use ext4"),
        (Mounted(AT, "ext4", "ro,errors=remount-ro"), "ext4", "mounted read-only"),
        (Mounted(AT, "ext4", "rw", "ro,relatime"), "ext4", "mounted read-only"),
        (Mounted(AT, "ext4", "rw,emergency_ro"), "ext4", "mounted read-only"),
        (Mounted(AT, "ext4", "rw,shutdown"), "ext4", "mounted read-only"),
    ],
)
def test_what_is_not_fit_is_refused_with_a_reason(mounted: Mounted, wanted: str, text: str) -> None:
    with pytest.raises(Unusable, match=text):
        verify(mounted, wanted)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def _probe_on(tmp_path: Path, make: str, options: str = "loop") -> str:
    """What a probe of a new file system says; `make` makes it in the file $1."""
    script = f"""
        set -e
        truncate -s 320M "$1/disk"
        {make.replace("$1", '"$1/disk"')} >/dev/null 2>&1 || exit 77
        mkdir "$1/at"
        mount -o {options} "$1/disk" "$1/at" 2>/dev/null || exit 77
        exec /usr/bin/python3 -c '
import sys
from overlay_prepare.fitness import probe
from overlay_prepare.folder import open_top
from overlay_generator.render import OPTIONS_PERSISTENT
from overlay_prepare.report import Unusable
try:
    for _ in range(2):
        with open_top(sys.argv[1], print) as backing:
            probe(backing, OPTIONS_PERSISTENT)
    print("fit")
except Unusable as error:
    print(error)
' "$1/at"
    """
    environ = {**os.environ, "PYTHONPATH": str(Path(fitness.__file__).parents[1])}
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("can't be made or mounted here")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@root_only
@pytest.mark.parametrize(
    "kind", ["mkfs.ext4 -F $1", "mkfs.ext2 -F $1", "mkfs.xfs -f $1", "mkfs.btrfs -f $1", "mkfs.f2fs $1"]
)
def test_file_systems_that_are_fit(kind: str, tmp_path: Path) -> None:
    assert _probe_on(tmp_path, kind) == "fit"


@root_only
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("mkfs.ext4 -F -O ^filetype $1", "d_type"),
        ("mkfs.vfat $1", "no trusted extended attributes"),
    ],
)
def test_file_systems_that_are_not_fit(kind: str, text: str, tmp_path: Path) -> None:
    assert text in _probe_on(tmp_path, kind)


@root_only
def test_a_full_disk_is_fit_and_a_probe_cut_off_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "probe/directory").mkdir(parents=True)
    (tmp_path / "probe/whiteout").write_text("")
    probe(hold(tmp_path), OPTIONS_PERSISTENT)
    assert os.listdir(tmp_path) == []
    script = """
        set -e
        mount -t tmpfs -o size=4k,nr_inodes=4 tmpfs "$1"
        mkdir "$1/upper" "$1/work" "$1/lower" 2>/dev/null
        exec /usr/bin/python3 -c '
import sys
from overlay_prepare.fitness import probe
from overlay_prepare.folder import open_top
probe(open_top(sys.argv[1], print), sys.argv[2])' "$@"
    """
    environ = {**os.environ, "PYTHONPATH": str(Path(fitness.__file__).parents[1])}
    subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", tmp_path, OPTIONS_PERSISTENT], env=environ, check=True)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    (tmp_path / "backing/work/work").mkdir(parents=True)
    return tmp_path / "backing"


@root_only
@pytest.mark.parametrize("left", ["nothing", "empty", "full", "closed"])
def test_a_work_directory_that_can_be_used_is_made_anew(left: str, backing: Path) -> None:
    """What the kernel left in it at a power cut goes, as it would with the kernel."""
    inner = backing / "work/work"
    if left == "nothing":
        inner.rmdir()
    elif left in ("full", "closed"):
        (inner / "#5/deep").mkdir(parents=True)
        (inner / "#6").write_text("half")
        inner.chmod(0o000 if left == "closed" else 0o700)
    check_work(hold(backing))
    assert os.listdir(inner) == []
    assert inner.stat().st_mode & 0o777 == 0
    assert os.listdir(backing / "work") == ["work"]


def _make_immutable(path: Path) -> bool:
    """True if `path` can't be changed or removed now."""
    try:
        done = subprocess.run(["chattr", "+i", path], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@root_only
@pytest.mark.parametrize("name", ["work", "work/work", "work/work/file"])
def test_a_work_directory_that_can_not_be_used_is_told(name: str, backing: Path) -> None:
    (backing / "work/work/file").touch()
    if not _make_immutable(backing / name):
        pytest.skip("no file can be made immutable here")
    try:
        with pytest.raises(Unusable, match=r"^/.*/backing/work can't be used: Operation not permitted$"):
            check_work(hold(backing))
    finally:
        subprocess.run(["chattr", "-i", backing / name], check=True)


@pytest.mark.parametrize(("number", "keeps"), [
    (0, True), (errno.ENODATA, True), (errno.EOPNOTSUPP, False), (errno.EIO, None),
])  # fmt: skip
def test_whether_a_file_system_keeps_acls(number: int, keeps: "bool | None", monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def getxattr(*arguments: object) -> bytes:
        asked.append(arguments)
        if number:
            raise OSError(number, os.strerror(number))
        return b""

    monkeypatch.setattr("posix.getxattr", getxattr)
    if keeps is None:
        with pytest.raises(OSError, match="Input/output error"):
            fitness.keeps_acls("/var")
    else:
        assert fitness.keeps_acls("/var") is keeps
    assert asked == [("/var", "system.posix_acl_access")]


def test_a_command_that_fails_is_named_with_its_last_word() -> None:
    children = list_children()
    fitness.run("/bin/true", "x")
    with pytest.raises(OSError, match="/bin/false failed") as caught:
        fitness.run("/bin/false", "x", "/at")
    assert caught.value.filename == "/at"
    assert type(caught.value) is OSError, "it has no number of the kernel's, and is no refusal"
    assert list_children() == children


def test_an_overlay_that_is_busy_is_unmounted_later(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, ...]] = []

    def run(*command: str) -> None:
        done.append(command)
        if len(command) == 2:
            raise OSError(0, "/bin/umount failed", command[-1])

    monkeypatch.setattr(fitness, "run", run)
    fitness._unmount("/at")
    assert done == [("/bin/umount", "/at"), ("/bin/umount", "-l", "/at")]


@pytest.mark.parametrize(("number", "text"), [
    (errno.EOPNOTSUPP, "its file system has no trusted extended attributes"), (errno.ENOSPC, "No space left"),
])  # fmt: skip
def test_a_disk_without_trusted_attributes_is_told_from_a_full_one(
    number: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def setxattr(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("posix.setxattr", setxattr)
    with pytest.raises(Unusable if number == errno.EOPNOTSUPP else OSError, match=text):
        fitness._probe_attributes(hold(tmp_path))


def test_directories_that_do_not_tell_types_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitness._probe_types(hold(tmp_path))
    assert os.listdir(tmp_path) == []

    class Unknown:
        name = "directory"

        def is_dir(self, follow_symlinks: bool) -> bool:
            assert not follow_symlinks
            return False

    for found in ([], [Unknown()]):
        monkeypatch.setattr(Folder, "scan", lambda _self, found=found: iter(found))
        with pytest.raises(Unusable, match="d_type"):
            fitness._probe_types(hold(tmp_path))


@root_only
@pytest.mark.parametrize(("flags", "fit"), [(0, True), (1, False), (2, True)])
def test_an_overlay_that_comes_up_read_only_is_told(
    flags: int, fit: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST_RDONLY is 1, ST_NOSUID 2 (statvfs(3))."""
    info = os.statvfs(tmp_path)
    monkeypatch.setattr("posix.statvfs", lambda _fd: os.statvfs_result((*info[:8], flags, info[9])))
    with contextlib.nullcontext() if fit else pytest.raises(Unusable, match="comes up read-only"):
        probe(hold(tmp_path), OPTIONS_PERSISTENT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("broken", "text"), [
    ("posix.setxattr", "no trusted extended attributes"), ("overlay_prepare.fitness.run", "the kernel refuses it"),
])  # fmt: skip
def test_each_part_of_a_probe_is_tried_and_nothing_is_left(
    broken: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        assert (tmp_path / "probe").stat().st_mode & 0o7777 == 0o700, "closed to others"
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("posix.setxattr", lambda *_arguments: None)
    monkeypatch.setattr(broken, refuse)
    with pytest.raises(Unusable, match=text):
        probe(hold(tmp_path), OPTIONS_PERSISTENT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("mounted", "warned"), [
    (Mounted(AT, "xfs", "rw"), True), (Mounted(AT, "ext4", "rw,prjquota"), True),
    (Mounted(AT, "ext4", "rw,noprjquota"), False), (Mounted(AT, "btrfs", "rw"), False),
])  # fmt: skip
def test_project_ids_are_looked_for_where_there_may_be_some(
    mounted: Mounted, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr("overlay_prepare.projects.warn_of_clash", lambda _backing, where: found.append(where))
    fitness.warn_of_projects(mounted, hold(tmp_path), "/var")
    assert found == (["/var"] if warned else [])

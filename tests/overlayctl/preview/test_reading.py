# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What overlayctl preview reads and what it never touches: as an ordinary user, links that lead outside, the disk."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from previewing import Update, make_image
from product import REPOSITORY, SYSTEM_PYTHON
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an upper layer, and to become somebody else, needs root")

NOBODY = 65534
UNSEEN = "without root the marks of directories that were made anew can't be seen"


@pytest.fixture
def shared() -> "Iterator[Update]":
    """A step that everybody may read: pytest's own directories are the caller's alone."""
    top = Path(tempfile.mkdtemp(prefix="overlay-preview-"))
    shutil.copytree(REPOSITORY / "generator", top / "generator", ignore=shutil.ignore_patterns("__pycache__"))
    top.chmod(0o755)
    update = Update(top)
    update.fill(["a=1", "del=1"], ["a=22", "del=22", "lib/new=2"], ["a=mine", "del!", "lib/own=mine"])
    yield update
    shutil.rmtree(top)


def run_as_nobody(update: Update, *words: "str | Path") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SYSTEM_PYTHON, "-B", "-m", "overlayctl", "preview", *map(str, words)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(update.top / "generator")},
        capture_output=True,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        check=False,
    )


def test_an_ordinary_user_previews_a_tree(shared: Update) -> None:
    done = run_as_nobody(shared, shared.new, "--upper", shared.upper, "--old", shared.old)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == ["hidden", "deleted"]
    assert UNSEEN in done.stdout


def test_an_ordinary_user_leaves_out_what_can_not_be_read(shared: Update) -> None:
    fill(shared.upper, "secret/a=mine")
    fill(shared.new, "var/hers/b=2")
    (shared.upper / "secret").chmod(0o700)
    (shared.new / "var/hers").chmod(0o700)
    done = run_as_nobody(shared, shared.new, "--upper", shared.upper, "--old", shared.old)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "overlayctl: /var/secret: Permission denied; left out",
        f"overlayctl: {shared.new}: /var/hers: Permission denied; left out",
    ]
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == ["hidden", "deleted"]


def test_an_ordinary_user_is_told_what_needs_root(shared: Update) -> None:
    image = make_image("squashfs", shared.new, shared.top / "new.squashfs")
    layers: list[str | Path] = ["--upper", shared.upper]
    cases: list[tuple[list[str | Path], str]] = [
        ([image, *layers], f"{image}: only root can mount an image; try it as root, or give its tree as a directory"),
        (
            [shared.new, *layers, "--old", image],
            f"{image}: only root can mount an image; try it as root, or give its tree as a directory",
        ),
        ([shared.new], "the layers of an overlay can be read by root alone; try it as root"),
    ]
    for words, said in cases:
        done = run_as_nobody(shared, *words)
        assert (done.returncode, done.stdout, done.stderr) == (3, "", f"overlayctl: {said}\n")
    shared.upper.parent.chmod(0o700)
    done = run_as_nobody(shared, shared.new, *layers)
    said = f"{shared.upper}: Permission denied; try it as root"
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"overlayctl: {said}\n")


@pytest.fixture
def update(tmp_path: Path) -> Update:
    return Update(tmp_path)


def test_no_link_leads_out_of_a_tree(update: Update) -> None:
    """Each file and directory that is looked for in an image is a link to one of the machine's, with other content."""
    outside = fill(
        update.top / "outside",
        "dir/file=outside",
        "os-release=IMAGE_VERSION=7",
        "conf=[/var]\nPolicy=reset\n",
        "fstab=LABEL=x /var ext4 defaults 0 0\n",
        "passwd=other:x:990:990::/:/bin/sh\n",
        "group=other:x:990:\n",
    )
    update.fill(["dir/file=1", "file=1"], [f"dir>{outside}/dir", f"file>{outside}/dir/file"], ["dir/file=m", "file=m"])
    for name in ("os-release", "fstab", "passwd", "group"):
        fill(update.new, f"etc/{name}>{outside}/{name}")
    fill(update.new, f"etc/overlay-generator.conf>{outside}/conf", f"usr/lib>{outside}")
    fill(update.old, "etc/passwd=app:x:990:990::/:/bin/sh\n", "etc/group=app:x:990:\n")
    os.chown(update.upper / "file", 990, 990)
    assert update.find("--policy", "keep") == [("clash", "/var/file"), ("clash", "/var/dir")]
    assert update.find() == [("clash", "/var/file"), ("clash", "/var/dir")]
    assert (update.summary["policy"], update.summary["asked_by"]) == ("keep", "default")


def test_acls_name_users_too(update: Update) -> None:
    if not shutil.which("setfacl"):
        assert not os.environ.get("CI"), "setfacl is not installed"
        pytest.skip("setfacl is not installed")
    fill(update.old, "etc/passwd=app:x:990:990::/:/bin/sh\n", "etc/group=log:x:991:\n", "var/acl=1")
    fill(update.new, "etc/passwd=ntp:x:990:990::/:/bin/sh\n", "etc/group=net:x:991:\n", "var/acl=1")
    fill(update.upper, "acl=1", "own=mine", "dir/")
    subprocess.run(["setfacl", "-m", "u:990:r", update.upper / "own"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:991:r", update.upper / "dir"], check=True)
    # In the images alone: a change of an ACL is one of an extended attribute.
    subprocess.run(["setfacl", "-m", "u:1234:r", update.new / "var/acl"], check=True)
    assert update.find() == [("hidden", "/var/acl"), ("owner", "/var/own"), ("owner", "/var/dir")]
    assert [one["what"] for one in update.found] == [["xattrs"], ["user"], ["group"]]


def test_not_a_byte_of_the_disk_is_changed(tmp_path: Path) -> None:
    """The disk of a device, mounted so that each reading would leave a time of access."""
    disk, at = tmp_path / "disk.ext4", tmp_path / "disk"
    at.mkdir()
    with disk.open("wb") as stream:
        stream.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    # The times would be written by the kernel's own later on.
    subprocess.run(["mount", "-o", "loop,strictatime,commit=1", disk, at], check=True)
    try:
        update = Update(tmp_path)
        update.fill(["a=1", "d/x=1"], ["a=22", "d/x=22", "l/new=2"], ["a=mine", "d!", "own/b=mine", "l/ opaque"])
        (at / "image").write_text("IMAGE_VERSION=1\n")
        (at / "direct/var-was").mkdir(parents=True)
        image = make_image("ext4", update.new, tmp_path / "new.ext4")
        time.sleep(2)
        os.sync()
        before = [path.read_bytes() for path in (disk, image)]
        for new in (update.new, image):
            for policy in ("keep", "refresh", "prune", "reset"):
                assert update.run("--policy", policy, new=new)[0] == 0
        time.sleep(2)
        os.sync()
        assert [path.read_bytes() for path in (disk, image)] == before
        # The control: a single look without preview's care is seen.
        (at / "upper/a").read_bytes()
        os.sync()
        assert disk.read_bytes() != before[0]
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_walk(number: int, update: Update) -> None:
    for index in range(20000):
        (update.upper / f"file-{index}").touch()
    image = make_image("squashfs", update.new, update.top / f"new-{number}.squashfs")
    mounts = Path("/proc/self/mountinfo").read_text()
    with subprocess.Popen(
        [sys.executable, "-m", "overlayctl", "preview", image, "--upper", update.upper, "--policy", "reset"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")},
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("dropped")
        process.send_signal(number)
        process.stdout.read()
        assert (process.wait(20), process.stderr.read()) == (128 + number, "")
    for _ in range(100):
        backed = subprocess.run(["losetup", "-nO", "BACK-FILE"], capture_output=True, text=True, check=True).stdout
        if str(image) not in backed:
            break
        time.sleep(0.1)  # udev may look at it for a moment
    assert str(image) not in backed
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_progress_on_a_terminal(update: Update) -> None:
    """Also within one large directory, where nothing is found for long."""
    for index in range(6000):
        for top in (update.old / "var", update.new / "var", update.upper):
            (top / f"file-{index}").touch()
    terminal, other = os.openpty()
    code = (
        "import sys; from overlayctl import main, progress\n"
        "progress._QUIET = progress._EVERY = -1\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    words: list[str | Path] = ["preview", update.new, "--upper", update.upper, "--old", update.old]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=other,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")},
        check=False,
    )
    os.close(other)
    shown = b""
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:
        pass  # EIO: nobody writes to it any more
    os.close(terminal)
    assert done.returncode == 0
    steps = shown.decode().split("\r")
    assert [step for step in steps if step.startswith("256 entries ...")]
    assert [step for step in steps if step.startswith("5,888 entries ...")]
    # And it is gone in the end.
    assert steps[-1] == "\x1b[K"

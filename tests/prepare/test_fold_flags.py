# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What chattr +i and +a have protected: not while it is frozen, as the kernel does it, and again after a fold."""

import os
import subprocess
from pathlib import Path

import pytest

import overlay_prepare
from hold import hold
from overlay_generator.render import OPTIONS_PERSISTENT
from overlay_prepare import fold
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and trusted attributes need root")
PROTECTED = "trusted.overlay.protattr"

# In $1, with mount options $2: which of two files that are +i can be written, one in a directory that is.
SCRIPT = """
    set -e
    mount -t tmpfs tmpfs "$1"
    cd "$1"
    mkdir -p lower upper work frozen/upper/d at
    echo a >frozen/upper/file; echo a >frozen/upper/d/old; echo one >image; touch frozen/since
    for path in file d; do setfattr -n trusted.overlay.protattr -v i "frozen/upper/$path"; done
    show() {
        mount -t overlay -o "lowerdir=$1,upperdir=upper,workdir=work,$2" overlay at
        for path in file "d/$3"; do
            if (echo new >>"at/$path") 2>/dev/null; then echo "$path"; fi
        done
        umount at
    }
    cp -a frozen/upper before
    mv upper empty; mv before upper
    echo before; show lower "$2" one
    mv upper before; mv empty upper
    echo frozen; show frozen/upper:lower "$2" two
    rm -f upper/file
    /usr/bin/python3 -c "
from overlay_prepare.folder import open_top
from overlay_prepare import fold
top = open_top('.', print)
fold.fold(top, top.open('frozen'))"
    rm -r work; mkdir work
    echo folded; show lower "$2" three
"""


def test_what_is_frozen_is_not_protected_until_it_is_folded(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(overlay_prepare.__file__).parents[1])}
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(tmp_path), OPTIONS_PERSISTENT]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["before", "frozen", "file", "d/two", "folded"]


MANY = [f"d/m{number}=b" for number in range(20)]


@pytest.mark.parametrize("upper", [["d/new=b"], MANY])
@pytest.mark.parametrize(("ours", "theirs", "expected"), [
    (b"", b"i", b"i"), (b"a", b"", b"a"), (b"i", b"a", b"ai"), (b"ia", b"i", b"ia"), (b"", b"", b""),
    (b"", b"?i", b"i"), (b"x", b"", b""),
])  # fmt: skip
def test_a_directory_has_the_flags_of_both(
    ours: bytes, theirs: bytes, expected: bytes, upper: "list[str]", tmp_path: Path
) -> None:
    """Whichever of the two takes the place of the other."""
    fill(tmp_path, *(f"upper/{path}" for path in upper), "frozen/upper/d/old=a", "image=one\n", "frozen/since=")
    for path, flags in (("upper/d", ours), ("frozen/upper/d", theirs)):
        if flags:
            os.setxattr(tmp_path / path, PROTECTED, flags)
    fold.fold(hold(tmp_path), hold(tmp_path / "frozen"))
    made = tmp_path / "upper/d"
    found = os.getxattr(made, PROTECTED) if PROTECTED in os.listxattr(made) else b""
    assert {flag for flag in b"ai" if flag in found} == set(expected)


def test_one_that_was_removed_and_made_anew_has_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "upper/d/ opaque", "frozen/upper/d/old=a", "image=one\n", "frozen/since=")
    os.setxattr(tmp_path / "frozen/upper/d", PROTECTED, b"i")
    fold.fold(hold(tmp_path), hold(tmp_path / "frozen"))
    assert PROTECTED not in os.listxattr(tmp_path / "upper/d")


def test_flags_that_there_is_no_room_for_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "upper/d/new", "frozen/upper/d/old=a", "image=one\n", "frozen/since=")
    os.setxattr(tmp_path / "upper/d", PROTECTED, b"ia")
    monkeypatch.setattr(fold, "set_mark", lambda *_: False)
    fold.fold(hold(tmp_path), hold(tmp_path / "frozen"))
    text = f"<4>{tmp_path}/frozen/upper/d loses its chattr +ai: there is no room for it\n"
    assert capsys.readouterr().err == text


def test_files_that_have_lost_theirs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["d/log", "d/set", "d/free", "d/gone"]
    fill(tmp_path, *(f"frozen/upper/{path}=a" for path in files), "image=one\n", "frozen/since=")
    fill(tmp_path, "upper/d/log=b", "upper/d/set=b", "upper/d/free=b", "upper/d/gone!", "upper/d/new=b")
    for path in ("frozen/upper/d/log", "frozen/upper/d/set", "frozen/upper/d/gone", "upper/d/set"):
        os.setxattr(tmp_path / path, PROTECTED, b"a")
    fold.fold(hold(tmp_path), hold(tmp_path / "frozen"))
    text = "has lost its chattr +i or +a: it was written to after the update"
    assert capsys.readouterr().err == f"<4>{tmp_path}/upper/d/log, one of 1 files, {text}\n"

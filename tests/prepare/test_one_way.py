# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""There is one way to touch a backing directory: folder.py and tree.py. Checked in the source of all other modules.

Each other call that takes a path is in the table below, with whose path that is. Only a Folder may touch what is below
a backing directory, so none of these paths may be made of one: that is checked as well.
"""

import ast
from pathlib import Path

import pytest

from product import REPOSITORY

PREPARE = REPOSITORY / "generator/overlay_prepare"
THE_WAY = {"folder.py", "tree.py"}
# Calls of posix that take a path, and those of ours.
TAKE_A_PATH = {
    "open", "mkdir", "rmdir", "mknod", "mkfifo", "rename", "replace", "unlink", "remove", "link", "symlink", "readlink",
    "stat", "lstat", "access", "chmod", "chown", "lchown", "utime", "truncate", "scandir", "listdir", "statvfs",
    "chdir", "getxattr", "setxattr", "removexattr", "listxattr", "chroot", "pathconf",
}  # fmt: skip
OURS = {"find_kind", "list_entries", "leads_to_directory", "make_directory", "remove_file", "write_whole", "read_file"}
# Names of what a call may be given: a descriptor, or a path of the image or below /run, /proc, /sys and /dev.
DESCRIPTORS = ("fd", ".fd")
TRUSTED = {
    "identity.py": "the image, and what the kernel says of its device",
    "manifest.py": "the image, whose files are described",
    "imagenames.py": "the image, whose names are noted",
    "imagecopy.py": "the image, which is copied, and what Folder.reach() gives",
    "files.py": "whatever it is given: by those that stand here",
    "report.py": "/run/overlay-generator and /run/motd.d",
    "labels.py": "the image, what is below /sys and /proc, and descriptors",
}
# (file, function): single calls, and whose path it is.
SINGLE = {
    ("overlays.py", "do_for_each"): "/run/overlay-generator",
    ("freeze.py", "finish"): "the image",
    ("fold.py", "_has_flags"): "what Folder.reach() gives",
    ("shadow.py", "_link"): "names in two directories that are open",
    ("shadow.py", "do"): "names in two directories that are open",
    ("shadow.py", "_copy_file"): "a name in a directory that is open, and what Folder.reach() gives",
    ("shadow.py", "_copy_content"): "a name in a directory that is open",
    ("shadow.py", "_copy_attributes"): "what Folder.reach() gives, or a descriptor",
    ("shadow.py", "_list_attributes"): "what Folder.reach() gives, or a descriptor",
    ("projectid.py", "move"): "names in two directories that are open",
    ("projectid.py", "_adopt"): "a name in a directory that is open, which no link leads out of",
    ("fdinfo.py", "find_mount"): "/proc",
    ("fitness.py", "find_mounted"): "mountinfo",
    ("imagechange.py", "forget_updated"): "the image",
    ("journal.py", "show"): "/dev/console",
    ("main.py", "_work_behind"): "the image",
    ("main.py", "_is_fallback"): "/run/overlay-generator",
    ("main.py", "_mark_failed"): "what systemd has made in /run",
    ("storage.py", "_label"): "the image",
    ("layers.py", "_make_direct"): "/run/overlay-generator",
    ("persistent.py", "make_persistent"): "what systemd has made in /run",
    ("persistent.py", "_reset_once"): "/run/overlay-generator",
    ("persistent.py", "_sweep"): "/run/overlay-generator",
    ("normalise.py", "_strip"): "what Folder.reach() gives",
    ("normalise.py", "_remove"): "what Folder.reach() gives, or a descriptor",
    ("opaque.py", "find_concerned"): "the image",
    ("opaque.py", "is_concerned"): "the image",
    ("opaque.py", "_find_directories"): "the image",
    ("opaque.py", "_has_news"): "the image",
    ("opaque.py", "is_opaque"): "a descriptor",
    ("bootcheck.py", "find_unmet"): "what is mounted, and /run/overlay-generator",
    ("bootcheck.py", "_find_disk_in_memory"): "/sys",
    ("bootcheck.py", "_find_refusal"): "no name, in a directory that is open",
    ("fitness.py", "keeps_acls"): "the image, or a descriptor",
    ("passthrough.py", "_fill"): "the image",
    ("passthrough.py", "_strip"): "what Folder.reach() gives, or a descriptor",
    ("policy.py", "_prune"): "the image",
    ("policy.py", "_follow_directory"): "the image",
    ("reset.py", "_open_for"): "the image",
    ("reset.py", "_list_hidden"): "the image",
    ("upper.py", "copy_attributes"): "the image, and a descriptor",
    ("upper.py", "follow_attributes"): "a descriptor",
}


def find_others(top: Path) -> "list[str]":
    """All calls below `top` that take a path and are not known to take one of the image's, or of /run."""
    found = []
    for path in sorted(top.glob("*.py")):
        if path.name in THE_WAY | set(TRUSTED):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                found += [f"{path.name}: {function.name}(): {call}" for call in _find_calls(path.name, function)]
    return found


def _find_calls(file: str, function: ast.FunctionDef) -> "list[str]":
    found = []
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name, first = ast.unparse(node.func), ast.unparse(node.args[0])
        takes = name in OURS or name == "open_top" or (name[:6] == "posix." and name[6:] in TAKE_A_PATH)
        if not takes or name == "posix.symlink" or first in DESCRIPTORS or first.endswith(".fd"):
            continue
        words = " ".join(ast.unparse(argument) for argument in node.args)
        below = any(word in words for word in ("backing", "upper", "work", "lower", "trash"))
        if name == "open_top":
            # Only a mount point, and by that the root of what is mounted.
            if (file, function.name) not in OPENED:
                found.append(f"{name}({words})")
        elif below or (file, function.name) not in SINGLE:
            found.append(f"{name}({words})")
    return found


# Functions that open a directory by its path: which one, and why nobody can make that path lead elsewhere.
OPENED = {
    ("layers.py", "open_backing"): "the mount point, which lies in /run",
    ("overlays.py", "do_for_each"): "the backing directory by its name in /run, which prepare has made or found",
    ("bootcheck.py", "find_unmet"): "the backing directory that is in use",
    ("bootcheck.py", "_find_refusal"): "the backing directory that is in use",
    ("fitness.py", "_probe_overlay"): "an overlay that was mounted a moment ago on a directory that was looked at",
}


def test_nothing_else_takes_a_path_below_a_backing_directory() -> None:
    assert find_others(PREPARE) == []


def test_nobody_stands_in_a_table_for_nothing() -> None:
    names = {
        (path.name, node.name)
        for path in PREPARE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert set(SINGLE) | set(OPENED) <= names
    assert THE_WAY | set(TRUSTED) <= {path.name for path in PREPARE.glob("*.py")}


@pytest.mark.parametrize(
    "line",
    [
        "posix.open(f'{backing.path}/image', 0)",
        "posix.rename(path, other)",
        "find_kind(f'{backing}/trash')",
        "open_top(f'{backing.path}/upper', tell)",
        "posix.listxattr(path)",
        "write_whole(f'{request.backing}/reset', '', 0o600)",
    ],
)
def test_one_that_does_is_found(line: str, tmp_path: Path) -> None:
    for path in PREPARE.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    before = find_others(tmp_path)
    with (tmp_path / "stamp.py").open("a") as stream:
        stream.write(
            f"\n\ndef more(path, other, tell, request):\n    {line}\n    posix.fstat(fd)\n    posix.statvfs(x.fd)\n"
        )
    assert len(find_others(tmp_path)) == len(before) + 1

"""A machine as a case directory of the tests: root/, layout, env, README, expected (tests/support/fakeroot.py)."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from overlayctl.save.record import Record

# What tests/cases/common has: where this machine has not got it, the case takes it away.
_COMMON = ("/bin/sh", "/proc", "/var")
# Long, and all but the lines on overlayfs is nobody's concern.
_TRIMMED = ("modules.builtin", "modules.dep")
_READ_LIMIT = 16 << 20
_BLOT = "XXXX"
_SECRETS = (
    re.compile(rb"(?i)\b((?:[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|psk))\d?[ \t]*=[ \t]*)([^\s,;\"']+)"),
    re.compile(rb"(?i)\b(systemd\.set[_-]credential(?:[_-]binary)?=[^\s:]*:)(\S+)"),
    re.compile(rb"(//[^/\s:@]+:)([^/\s@]+)(?=@)"),
)


class Case:
    """Collects a case in the directory `top`; `blotted` are the files in which a secret was made unreadable."""

    def __init__(self, root: str, top: str) -> None:
        self.root = root
        self.tree = f"{top}/root"
        self.top = top
        self.layout: list[str] = []
        self.blotted: list[str] = []

    def add(self, record: Record, cmdline: "str | None") -> None:
        """Take over all that `record` has. Raises OSError if it can't be written."""
        os.makedirs(self.tree, exist_ok=True)
        for path in record.paths():
            self._add_path(path, path in record.opened, path in record.links)
        if record.release:
            self._write("/proc/sys/kernel/osrelease", f"{record.release}\n".encode())
        for path in _COMMON:
            if not os.path.lexists(self.root + path) and not os.path.lexists(self.tree + path):
                self.layout.append(f"r {path}")
        if cmdline is None and not os.path.exists(f"{self.tree}/proc/cmdline"):
            self._write("/proc/cmdline", b"")

    def write(self, name: str, text: str) -> None:
        """Put `text` into the file `name` of the case."""
        data, found = blot(text.encode("utf-8", "surrogateescape"))
        if found:
            self.blotted.append(name)
        Path(self.top, name).write_bytes(data)

    def finish(self) -> None:
        """Write the layout, once everything is taken over. Raises OSError."""
        if self.layout:
            Path(self.top, "layout").write_text("".join(f"{line}\n" for line in self.layout), encoding="utf-8")

    def _add_path(self, path: str, opened: bool, linked: bool) -> None:
        try:
            info = os.lstat(self.root + path)
        except OSError:
            return
        if stat.S_ISLNK(info.st_mode) and (linked or not opened):
            self.layout.append(f"L {_escape(path)} {os.readlink(self.root + path)}")
        elif stat.S_ISDIR(info.st_mode):
            self._add_directory(path, info)
        elif opened and not _is_special(self.root + path):
            self._write(path, _read(self.root + path))
        elif opened:
            self.layout.append(f"p {_escape(path)}")
        else:
            # Only looked at: an empty unit file is a mask, so that much of it counts.
            self._write(path, b"# not saved\n" if info.st_size else b"")

    def _add_directory(self, path: str, info: os.stat_result) -> None:
        if path in ("/", "/proc", "/proc/self"):
            return
        owner = f" {info.st_uid} {info.st_gid}" if (info.st_uid, info.st_gid) != (0, 0) else ""
        self.layout.append(f"d {_escape(path)} {stat.S_IMODE(info.st_mode):04o}{owner}")
        try:
            labelled = bool(os.listxattr(self.root + path))
        except OSError:
            labelled = False
        if labelled:
            # That there are some is all that counts, and ordinary users may set this one.
            self.layout.append(f"x {_escape(path)} user.label saved")

    def _write(self, path: str, data: bytes) -> None:
        if path.rpartition("/")[2] in _TRIMMED:
            data = b"".join(line for line in data.splitlines(True) if b"/overlay.ko" in line)
        data, found = blot(data)
        if found:
            self.blotted.append(path)
        target = self.tree + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).write_bytes(data)


def blot(data: bytes) -> "tuple[bytes, int]":
    """`data` with what looks like a secret made unreadable, and how many there were. Pure."""
    count = 0
    for pattern in _SECRETS:
        data, found = pattern.subn(lambda match: match[1] + _BLOT.encode(), data)
        count += found
    return data, count


def run_generator(root: str, environ: "dict[str, str]") -> str:
    """What the generator does with the tree `root`, as `expected` has it: status, log, every file. Raises OSError."""
    library = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.insert(0, {library!r}); from overlay_generator.dryrun import run; run(sys.argv)"
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0", **environ}
    with tempfile.TemporaryDirectory(prefix="overlayctl-") as out:
        places = [f"{out}/{name}" for name in ("normal", "early", "late")]
        for place in places:
            os.mkdir(place)
        command = [sys.executable, "-ISB", "-c", program, "--root", root, *places]
        done = subprocess.run(command, env=clean, capture_output=True, check=False, timeout=60)
        text = f"status {done.returncode}\n{done.stderr.decode('utf-8', 'surrogateescape')}"
        for path in sorted(Path(out).rglob("*")):
            name = path.relative_to(out)
            if path.is_symlink():
                text += f"\n==> {name} -> {os.readlink(path)}\n"
            elif path.is_file():
                text += f"\n==> {name} <==\n{path.read_text(encoding='utf-8')}"
    return text


def build(top: str, tree: str) -> None:
    """Make the tree of the case in `top` at `tree`, as a test will. Raises OSError."""
    shutil.copytree(f"{top}/root", tree, symlinks=True)
    layout = Path(top, "layout")
    for line in layout.read_text(encoding="utf-8").splitlines() if layout.exists() else ():
        kind, name, rest = [*line.split(None, 2), ""][:3]
        path = tree + name.encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "d":
            mode, *owner = rest.split()
            os.makedirs(path, exist_ok=True)
            if owner:
                os.chown(path, int(owner[0]), int(owner[1]))
            os.chmod(path, int(mode, 8))
        elif kind == "L":
            os.symlink(rest, path)
        elif kind == "p":
            os.mkfifo(path)
        elif kind == "x":
            attribute, value = rest.split(None, 1)
            os.setxattr(path, attribute, value.encode())


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(_READ_LIMIT)
    except OSError:
        return b""


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _escape(path: str) -> str:
    """`path` as a word of layout: with Python's escapes for what would part it."""
    data = path.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if 0x20 < b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in data)

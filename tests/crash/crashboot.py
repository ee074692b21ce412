# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One boot on a disk, as far as prepare and the overlay go: the product as its unit runs it, and the mounts."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import posix
import shutil
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crashcases import IMAGES, USE, USE_B, Scenario
from mounting import bind, commit_metadata, mount, mounted, sync_file_system, unmount

import imagechange
from overlay_generator import render
from overlay_generator.names import backing_name, spell_lower
from overlay_prepare import fitness, fold, frozen, identity, main, persistent, reset, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.resetrequest import parse
from overlayctl.stage import backup, request
from overlayctl.stage.request import Place
from powercut import CHANGING
from tree import fill

UUID = "8d9d2f83-6a1a-4c5e-9e56-1f0f2e0a7b11"  # the same for both, so that references can be followed in either
_STALE = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.upper")
View = imagechange.View
SYNCED = {"u/first": "first" * 100, "u/second": "second" * 30000}
LOOSE = "loose" * 200
BACKUP = "backup/var.tar"


@dataclass
class Outcome:
    """What a boot came to: what the overlay shows, and what the disk has, looked at before and after it is mounted."""

    view: View = field(default_factory=dict)
    upper: View = field(default_factory=dict)
    direct: dict[str, View] = field(default_factory=dict)
    undone: View = field(default_factory=dict)
    said: str = ""
    dropped: str = ""
    names: list[str] = field(default_factory=list)
    marked: list[str] = field(default_factory=list)
    error: str = ""


class Rig:
    """A place for a machine: images that are mounted, a directory for the disk, one for the overlay."""

    def __init__(self, top: Path, kind: str) -> None:
        self.top = top
        self.kind = kind
        self.disk, self.where, self.at = top / "disk", top / "var", top / "at"
        self.backing = self.disk / "var"
        self.images: dict[str, View] = {}
        for path in (self.disk, self.where, self.at):
            path.mkdir(parents=True)
        for name in IMAGES:
            (top / f"release-{name}").write_text(f"IMAGE_ID=crash\nIMAGE_VERSION={name}\n")

    def make_images(self) -> None:
        """Make and mount both images, for as long as this namespace lives."""
        for name, entries in IMAGES.items():
            tree = fill(self.top / f"tree-{name}", *entries)
            image, at = self.top / f"{name}.erofs", self.top / f"image-{name}"
            at.mkdir()
            environ = {**os.environ, "SOURCE_DATE_EPOCH": {"a": "1000000000", "b": "1100000000"}[name]}
            command = ["mkfs.erofs", "--quiet", "-U", UUID, str(image), str(tree)]
            subprocess.run(command, check=True, capture_output=True, env=environ)
            subprocess.run(["mount", "-o", "loop,ro", image, at], check=True)
            self.images[name] = imagechange.read_tree(at)

    @property
    def place(self) -> Place:
        """Where overlayctl stages."""
        return Place(str(self.where), str(self.backing))

    def run(self, work: Callable[[], object]) -> Any:
        """What `work` returns, done in a process of its own. Raises AssertionError with what went wrong there."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(reader)
                result = work()
                with os.fdopen(writer, "wb") as stream:
                    pickle.dump(result, stream)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            data = stream.read()
        assert os.waitpid(pid, 0)[1] == 0, "the harness itself failed"
        return pickle.loads(data)

    def boot(
        self, device: Path, name: str, scenario: Scenario, user: Callable[[], object] | None = None, pace: str = "",
        fault: str = "", mark: Callable[[str], object] | None = None,
    ) -> Outcome:  # fmt: skip
        """Boot the image `name` with the disk in the file `device`; `user` works in the overlay, else it is looked at.

        `mark` is called when the overlay is about to be mounted.
        """

        def work() -> Outcome:
            outcome = Outcome()
            try:
                with contextlib.ExitStack() as stack:
                    stack.enter_context(mounted(device, self.kind, self.disk))
                    self._prepare(name, scenario, pace, fault, outcome, stack)
                    if mark:
                        mark("mounted")
                    self._use(user, scenario.rollback, outcome, stack)
            except Exception:
                outcome.error = traceback.format_exc()
            return outcome

        result = self.run(work)
        assert isinstance(result, Outcome)
        return result

    def _prepare(
        self, name: str, scenario: Scenario, pace: str, fault: str, outcome: Outcome, stack: contextlib.ExitStack
    ) -> None:
        shutil.rmtree("/run/overlay-generator", ignore_errors=True)
        bind(self.top / f"image-{name}", self.where)
        stack.callback(unmount, self.where)
        release = os.path.realpath("/etc/os-release")
        bind(self.top / f"release-{name}", release)
        stack.callback(unmount, release)
        patch(self, pace, fault)
        said = io.StringIO()
        direct = [f"--direct={self.where}/{path}" for path in scenario.passed.get(name, ())]
        direct += [f"--rollback={scenario.rollback}", "--commit=manual"] if scenario.rollback != "no" else []
        words = [f"--mount={self.disk}", f"--policy={scenario.policy}", *direct, str(self.where), str(self.backing)]
        with contextlib.redirect_stderr(said):
            status = main.main(["prepare", *words])
        os.chdir("/")  # the program ends where the image can be seen
        outcome.said = said.getvalue()
        assert status == 0, outcome.said

    def _use(
        self, user: Callable[[], object] | None, rollback: str, outcome: Outcome, stack: contextlib.ExitStack
    ) -> None:
        if not user:
            _wait_behind()
            self._look(outcome)
        bind(self.where, self.backing / "lower")
        stack.callback(unmount, self.backing / "lower")
        lower = spell_lower(str(self.backing), rollback)
        layers = f"lowerdir={lower},upperdir={self.backing}/upper,workdir={self.backing}/work"
        mount("overlay", self.at, "overlay", f"{layers},{render.OPTIONS_PERSISTENT}")
        stack.callback(unmount, self.at)
        assert not os.statvfs(self.at).f_flag & os.ST_RDONLY, "the overlay is read-only"
        outcome.view = imagechange.read_tree(self.at)
        if user:
            user()
            _wait_behind()

    def _look(self, outcome: Outcome) -> None:
        outcome.upper = imagechange.read_upper(self.backing / "upper")
        for path in imagechange.things(self.backing):
            found = set(os.listxattr(path, follow_symlinks=False)) & set(_STALE)
            inside = path.relative_to(self.backing).as_posix()
            if inside.startswith("upper/") and path.is_dir() and found == {_STALE[0]}:
                found = set() if os.getxattr(path, _STALE[0]) == b"" else found
            outcome.marked += [inside] if found and inside.startswith(("upper/", "direct/")) else []
            if inside.startswith(("upper/", "direct/")) or "/" not in inside:
                outcome.names.append(inside)
        if (self.backing / frozen.UNDONE).exists():
            outcome.undone = imagechange.read_upper(self.backing / frozen.UNDONE)
        for path in (self.backing / "direct").glob("*"):
            outcome.direct[path.name] = imagechange.read_tree(path)
        with contextlib.suppress(FileNotFoundError):
            outcome.dropped = (self.backing / "dropped").read_text(errors="surrogateescape")

    def use(self) -> None:
        """What the user does over the first image."""
        subprocess.run(["sh", "-e"], input=USE, text=True, check=True, cwd=self.at)

    def use_later(self) -> None:
        """What the user does over the second image."""
        subprocess.run(["sh", "-e"], input=USE_B, text=True, check=True, cwd=self.at)

    def write(self, mark: Callable[[str], object]) -> None:
        """A user's first writes: what was synced is marked."""
        directory = self.at / "u"
        directory.mkdir()
        sync_directory(self.at)
        (directory / ".loose").write_text(LOOSE)
        (directory / ".loose").rename(directory / "loose")
        for name, text in SYNCED.items():
            with (self.at / name).open("w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            sync_directory(directory)
            mark(name)

    def stage(self, scenario: Scenario) -> None:
        """Ask for what a scenario wants, as overlayctl does."""
        lines = [line.partition(" ") for line in scenario.staged]
        text = "".join(f"{verb} {self.where}/{path}\n" if path else f"{verb}\n" for verb, _, path in lines)
        request.write(self.place, lambda _place: parse(text))

    def save(self) -> None:
        """A backup as overlayctl makes it, on the disk but outside of what is reset."""
        (self.disk / "backup").mkdir()
        sync_directory(self.disk)
        backup.write(str(self.disk / BACKUP), [self.place])

    def flat(self, path: str) -> str:
        """The name in `direct`."""
        return backing_name(f"{self.where}/{path}")


def _wait_behind() -> None:
    """Wait until prepare's background process has ended."""
    with contextlib.suppress(ChildProcessError):
        os.wait()


def sync_directory(path: Path) -> None:
    """fsync(2) of a directory."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def patch(rig: Rig, pace: str, fault: str) -> None:
    """Let this process's product run in a pace, and with a fault. The machine's other disks are not synced."""
    disk = str(rig.disk)
    setattr(posix, "sync", lambda: sync_file_system(disk))  # noqa: B010
    setattr(posix, "nice", lambda _number: 0)  # noqa: B010
    fitness.run = _run
    if fault == "no-sync":
        setattr(posix, "sync", lambda: None)  # noqa: B010
        setattr(posix, "fsync", lambda _fd: None)  # noqa: B010
    elif fault == "stamp-early":
        image = identity.identify(str(rig.where))
        setattr(stamp, "mark_changing", lambda backing, _previous=None: stamp.write(backing, image))  # noqa: B010
    elif fault == "request-early":
        _forget_early(rig)
    elif fault == "fold-unmarked":
        _fold_unmarked()
    if pace == "commits":
        for name in CHANGING:
            if name not in ("sync", "fsync"):
                setattr(posix, name, _commit_after(getattr(posix, name), disk, rig.kind))


def _run(*command: str) -> None:
    """In the place of mount(8) and umount(8), which cost more than all the rest."""
    if command[0].endswith("umount"):
        unmount(command[-1])
    else:
        mount(command[-2], command[-1], command[command.index("-t") + 1], command[command.index("-o") + 1])


def _commit_after(call: Callable[..., object], disk: str, kind: str) -> Callable[..., object]:
    def one(*arguments: object, **options: object) -> object:
        result = call(*arguments, **options)
        commit_metadata(disk, kind)
        return result

    return one


def _forget_early(rig: Rig) -> None:
    real, path = reset.reset, rig.backing / "reset"

    def early(*arguments: object, **options: object) -> object:
        text = path.read_text()
        path.unlink()
        sync_file_system(rig.disk)
        result = real(*arguments, **options)  # type: ignore[arg-type]
        path.write_text(text)
        return result

    reset.reset = early  # type: ignore[assignment]
    assert persistent


def _fold_unmarked() -> None:
    """Let a fold that is cut off be taken for two layers that nobody has committed."""
    real, rename = fold.fold, Folder.rename

    def unmarked(self: Folder, old: str, new: str, to: Folder | None = None) -> None:
        if new != frozen.FOLDING:
            rename(self, old, new, to)

    def forgetful(backing: Folder, folder: Folder) -> None:
        frozen.drop(backing, frozen.COMMIT)
        real(backing, folder)

    setattr(Folder, "rename", unmarked)  # noqa: B010
    setattr(fold, "fold", forgetful)  # noqa: B010

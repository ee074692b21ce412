# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks with the help of other processors: parts of large directories are given to processes that read them.

The text is the one of a single walk. Parts are given out in the order of their names, to each helper in turn, and
taken back in that order. A short walk, or a machine with one processor, has no helpers.
"""

import contextlib
import marshal
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from overlayctl.layers.change import Change, Layers
from overlayctl.layers.directory import Directory
from overlayctl.layers.place import Part
from overlayctl.layers.walk import Report, Walker

_WORTHWHILE = 5000  # names; starting a process costs as much as a few hundred
_PART = 256  # names; these, and the text about them, fit into a pipe (64 KiB, pipe(7)): nobody waits for long
_LONGEST = 16384  # bytes of such names
_AHEAD = 2  # parts that each helper has before its first is taken back
_MOST = 4
_ENDED = "a helper process has ended, perhaps for want of memory"
_LENGTH = struct.Struct("=I")

Spell = Callable[[Change], str]


class Unread:
    """Counts what could not be read, and reports it by `say`."""

    def __init__(self, say: Report) -> None:
        self.count = 0
        self._say = say

    def __call__(self, path: bytes, error: OSError) -> None:
        """For walk()."""
        self.count += 1
        self._say(path, error)


def spell_all(layers: Layers, start: bytes, spell: Spell, unread: Unread) -> "Iterator[str]":
    """The text that `spell` makes of each change of walk(), in the same order. Raises as walk() does."""
    team = _Team(spell, unread)
    walker = team.walker = Walker(layers, True, unread, team.share)
    # In the order of the text: None for a part that a helper has.
    waiting: deque[str | None] = deque()
    try:
        for step in walker.walk(start):
            if isinstance(step, Part):
                team.give(step)
                waiting.append(None)
            elif waiting:
                waiting.append(spell(step))
            else:
                yield spell(step)
            while waiting and (waiting[0] is not None or team.is_busy()):
                text = waiting.popleft()
                yield team.take() if text is None else text
        for text in waiting:
            yield team.take() if text is None else text
    finally:
        team.dismiss()


class _Team:
    walker: Walker

    def __init__(self, spell: Spell, unread: Unread) -> None:
        self._spell = spell
        self._unread = unread
        self._size = min(len(os.sched_getaffinity(0)), _MOST)
        self._seen = 0
        self._helpers: list[tuple[int, int, int]] = []  # process, to it, from it
        self._given = self._taken = 0

    def share(self, directory: Directory, names: "Iterator[bytes]", count: int) -> "Iterator[bytes | list[bytes]]":
        """The `shared` of Walker."""
        self._seen += count
        if self._size < 2 or self._seen < _WORTHWHILE or count < _PART:
            return names
        return _split(directory, names)

    def give(self, part: Part) -> None:
        """Have the next helper read `part`. Raises OSError."""
        if not self._helpers:
            self._start()
        _, to, _ = self._helpers[self._given % self._size]
        self._given += 1
        try:
            _send(to, tuple(part))
        except BrokenPipeError:
            # Not to be mistaken for a reader of our output that has gone away.
            raise OSError(0, _ENDED) from None

    def is_busy(self) -> bool:
        """True if something has to be taken before more is given."""
        return self._given - self._taken >= self._size * _AHEAD

    def take(self) -> str:
        """The text of the oldest part that was given. Raises OSError."""
        _, _, source = self._helpers[self._taken % self._size]
        self._taken += 1
        answer = _receive(source)
        if answer is None:
            raise OSError(0, _ENDED)
        text, unread, fault = answer
        if fault:
            raise RuntimeError(fault)
        self._unread.count += unread
        return str(text)

    def dismiss(self) -> None:
        """End all helpers."""
        for _, to, source in self._helpers:
            os.close(to)
            os.close(source)
        for process, _, _ in self._helpers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        self._helpers = []

    def _start(self) -> None:
        sys.stdout.flush()
        for _ in range(self._size):
            (task, to), (source, answer) = os.pipe(), os.pipe()
            process = os.fork()
            if process == 0:
                # Else the end of another helper's pipe would not be noticed.
                for fd in (to, source, *(fd for helper in self._helpers for fd in helper[1:])):
                    os.close(fd)
                self._help(task, answer)
            os.close(task)
            os.close(answer)
            self._helpers.append((process, to, source))

    def _help(self, task: int, answer: int) -> NoReturn:
        """The life of a helper."""
        self.walker.shared = None
        try:
            while True:
                part = _receive(task)
                if part is None:
                    break
                before = self._unread.count
                text, fault = "", ""
                try:
                    text = "".join(map(self._spell, self.walker.walk_part(Part(*part))))
                except Exception as error:
                    fault = f"{type(error).__name__}: {error}"
                _send(answer, (text, self._unread.count - before, fault))
        except (KeyboardInterrupt, OSError):
            pass  # nobody waits for it any more
        finally:
            os._exit(0)


def _split(directory: Directory, names: "Iterator[bytes]") -> "Iterator[bytes | list[bytes]]":
    """Each name of a directory by itself, all others in lists."""
    inner: set[bytes] = set()
    # Two links: no directory in it. On a file system where that is not so, the text is the same, but a helper has more
    # to do.
    if directory.find().st_nlink != 2:
        with os.scandir(directory.path) as entries:
            inner = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    part: list[bytes] = []
    size = 0
    for name in names:
        if part and (name in inner or len(part) >= _PART or size > _LONGEST):
            yield part
            part, size = [], 0
        if name in inner:
            yield name
        else:
            part.append(name)
            size += len(name)
    if part:
        yield part


def _send(fd: int, what: "tuple[Any, ...]") -> None:
    data = marshal.dumps(what)
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def _receive(fd: int) -> "tuple[Any, ...] | None":
    """What was sent, None at the end."""
    head = _read(fd, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = _read(fd, length)
    found = marshal.loads(data) if len(data) == length else None
    assert found is None or isinstance(found, tuple)
    return found


def _read(fd: int, length: int) -> bytes:
    data = os.read(fd, length)
    while 0 < len(data) < length:
        more = os.read(fd, length - len(data))
        if not more:
            break
        data += more
    return data

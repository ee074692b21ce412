# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes that help with a long walk, one for each processor: tasks are given to each in turn, and the answers taken
back in that order. They are copies of this process as it was when the first task was given.
"""

import contextlib
import marshal
import os
import struct
import sys
from collections.abc import Callable
from typing import Any, NoReturn

WORTHWHILE = 5000  # names; starting a process costs as much as a few hundred
PART = 256  # names; these, and the text about them, fit into a pipe (64 KiB, pipe(7)): nobody waits for long
LONGEST = 16384  # bytes of such names
_LARGEST = 32000  # bytes of a task, of which two have to fit into a pipe
_AHEAD = 2  # tasks that each helper has before its first is taken back
_MOST = 4
_ENDED = "a helper process has ended, perhaps for want of memory"
_LENGTH = struct.Struct("=I")

Values = tuple[Any, ...]  # of what marshal can write


class Team:
    """Helpers that do `work`, which makes an answer of a task, both values for marshal."""

    def __init__(self, work: "Callable[[Values], Values]") -> None:
        self._work = work
        self.size = min(len(os.sched_getaffinity(0)), _MOST)
        self._helpers: list[tuple[int, int, int]] = []  # process, to it, from it
        self._given = self._taken = 0
        self._done: dict[int, Values] = {}  # here, by the number of the task

    def give(self, task: Values) -> None:
        """Have the next helper do `task`. Raises OSError, and what `work` raises for one that is done here."""
        data = marshal.dumps(task)
        number = self._given
        self._given += 1
        if len(data) > _LARGEST:
            # A helper that waits for its answer to be taken, while its task does not fit into the pipe, waits for ever.
            self._done[number] = self._work(task)
            return
        if not self._helpers:
            self._start()
        try:
            _send(self._helpers[number % self.size][1], data)
        except BrokenPipeError:
            # Not to be mistaken for a reader of our output that has gone away.
            raise OSError(0, _ENDED) from None

    def is_busy(self) -> bool:
        """True if something has to be taken before more is given."""
        return self._given - self._taken >= self.size * _AHEAD

    def take(self) -> Values:
        """The answer to the oldest task that was given. Raises OSError, and RuntimeError for what `work` raised."""
        number = self._taken
        self._taken += 1
        if number in self._done:
            return self._done.pop(number)
        source = self._helpers[number % self.size][2]
        answer = _receive(source)
        if answer is None:
            raise OSError(0, _ENDED)
        fault, found = answer
        if fault:
            raise RuntimeError(fault)
        assert isinstance(found, tuple)
        return found

    def dismiss(self) -> None:
        """End all helpers."""
        for _, to, source in self._helpers:
            os.close(to)
            os.close(source)
        for process, _, _ in self._helpers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        self._helpers = []
        # Else it holds what it works on, with open directories of mounts, until somebody collects circles.
        del self._work

    def _start(self) -> None:
        sys.stdout.flush()
        for _ in range(self.size):
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
        try:
            while True:
                what = _receive(task)
                if what is None:
                    break
                found: Values = ()
                fault = ""
                try:
                    found = self._work(what)
                except Exception as error:
                    fault = f"{type(error).__name__}: {error}"
                _send(answer, marshal.dumps((fault, found)))
        except (KeyboardInterrupt, OSError):
            pass  # nobody waits for it any more
        finally:
            os._exit(0)


def _send(fd: int, data: bytes) -> None:
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def _receive(fd: int) -> "Values | None":
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

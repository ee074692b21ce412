# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records one scenario on one file system, and boots from what its disk may hold after a power cut."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crashboot import BACKUP, Rig
from crashcases import Scenario
from crashstates import State, choose, choose_around, enumerate_states
from fusefile import Recorder
from judge import Judge, Layer
from judgerollback import RollbackJudge
from mounting import TEARS, check_disk, copy_sparse, make_disk, mounted

from imagechange import read_upper

if TYPE_CHECKING:
    from crashboot import View
    from crashstates import Record

PACES = ("plain", "commits")
_TWICE = 0.04  # of the states are cut once more in the middle of their first boot
_STATES_OF_TWICE = 3
_ORDERS = (["b", "a"], ["a", "b"])


@dataclass
class Tally:
    """What was tried and what was wrong."""

    states: int = 0
    boots: int = 0
    loose: int = 0
    possible: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count `other` too."""
        self.states += other.states
        self.boots += other.boots
        self.loose += other.loose
        self.possible += other.possible
        self.faults += other.faults


class Run:
    """One scenario on one file system, written in one pace, perhaps by a broken product."""

    def __init__(self, rig: Rig, scenario: Scenario, pace: str, fault: str, seed: int) -> None:
        self.rig = rig
        self.scenario = scenario
        self.pace = pace
        self.fault = fault
        self.chance = random.Random(seed)
        self.title = f"{rig.kind} {scenario.name} {pace}{f' {fault}' if fault else ''}, seed {seed}"
        self.marks: dict[str, int] = {}
        self.base, self.cursor, self.state = (rig.top / f"{name}.disk" for name in ("base", "cursor", "state"))
        self.applied = 0
        self.whole: dict[str, bytes] = {}
        self.newer: View = {}  # the upper layer over what is frozen

    def try_states(self, most: int, until: float, near: str = "") -> Tally:
        """Boot from at most `most` states, those around the mark `near` if one is given, until the time `until`."""
        upper = self._prepare()
        records = self._record()
        if self.scenario.rollback == "no":
            judge = Judge(self.rig, self.scenario, upper, self.marks)
        else:
            judge = RollbackJudge(self.rig, self.scenario, upper, self.marks, self.newer)
        tally = Tally(possible=len(enumerate_states(records, random.Random(0), TEARS[self.rig.kind])))
        copy_sparse(self.base, self.cursor)
        self.applied = 0
        states = enumerate_states(records, self.chance, TEARS[self.rig.kind])
        chosen = choose_around(states, most, self.marks[near]) if near else choose(states, most, self.chance)
        for state in chosen:
            if time.monotonic() > until:
                break
            self._make(records, state)
            tally.states += 1
            for fault in self._try(judge, state, tally):
                tally.faults.append(f"{self.title}: state {state.title}: {fault}")
        tally.loose = judge.loose
        return tally

    def _prepare(self) -> View:
        """Make the disk as it is before the recording; its upper layer."""
        make_disk(self.base, self.rig.kind)
        if self.scenario.step == "first":
            return {}
        before = self.scenario if self.scenario.rollback != "no" else Scenario("before", policy=self.scenario.policy)
        outcome = self.rig.boot(self.base, "a", before, self.rig.use)
        assert not outcome.error, outcome.error

        def stage() -> View:
            with mounted(self.base, self.rig.kind, self.rig.disk):
                if self.scenario.staged and self.scenario.step == "boot":
                    self.rig.stage(self.scenario)
                if self.scenario.step == "fold" and (self.rig.backing / "frozen/image").exists():
                    (self.rig.backing / "commit").touch()
                return read_upper(self.rig.backing / "upper")

        found: View = self.rig.run(stage)
        if self.scenario.step in ("step-back", "fold"):
            outcome = self.rig.boot(self.base, "b", before, self.rig.use_later if self.scenario.used else None)
            assert not outcome.error, outcome.error
            self.newer = self.rig.run(stage)
        return found

    def _record(self) -> list[Record]:
        """What a disk is asked to do in the step of the scenario."""
        device = self.rig.top / "recorded"
        copy_sparse(self.base, self.cursor)
        marks = self.rig.top / "marks"
        marks.write_text("")
        with Recorder(device, self.cursor) as recorder:

            def mark(name: str) -> None:
                with marks.open("a") as stream:
                    stream.write(f"{name} {recorder.count()}\n")

            if self.scenario.boots:
                user = lambda: self.rig.write(mark)  # noqa: E731
                outcome = self.rig.boot(device, self.scenario.boots, self.scenario, user, self.pace, self.fault, mark)
                assert not outcome.error, outcome.error
            else:
                self.rig.run(lambda: self._stage(device, mark))
        for line in marks.read_text().splitlines():
            self.marks[line.split()[0]] = int(line.split()[1])
        if not self.scenario.boots:
            self.whole = self._read_files(self.cursor)
        return recorder.read().records

    def _stage(self, device: Path, mark: Callable[[str], object]) -> None:
        with mounted(device, self.rig.kind, self.rig.disk):
            if self.scenario.step == "backup":
                self.rig.save()
            self.rig.stage(self.scenario)
            mark("staged")

    def _read_files(self, device: Path) -> dict[str, bytes]:
        """What overlayctl has written on a disk."""

        def read() -> dict[str, bytes]:
            with mounted(device, self.rig.kind, self.rig.disk):
                paths = {name: self.rig.disk / name for name in ("var/reset", BACKUP)}
                return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

        found: dict[str, bytes] = self.rig.run(read)
        return found

    def _make(self, records: list[Record], state: State) -> None:
        """Put a state into the file that is booted from."""
        with self.cursor.open("r+b", buffering=0) as stream:
            _apply(stream.fileno(), (records[number] for number in range(self.applied, state.flushed)))
        self.applied = state.flushed
        _copy_with(self.cursor, self.state, records, state)

    def _try(self, judge: Judge, state: State, tally: Tally) -> list[str]:
        """Boot from a state with both images, one after the other; what was wrong."""
        wrong = check_disk(self.state, self.rig.kind)
        if wrong:
            return [wrong]
        faults: list[str] = []
        if not self.scenario.boots:
            faults += judge.judge_files(self._read_files(self.state), self.whole, state.flushed)
        layers = judge.begin(state.flushed)
        images = self.chance.choice(_ORDERS)
        if self.chance.random() < _TWICE:
            return faults + self._try_twice(judge, state, layers, images, tally)
        return faults + self._boot_all(self.state, judge, state, layers, images, [], tally)

    def _boot_all(
        self, device: Path, judge: Judge, state: State, layers: list[Layer], images: list[str], before: list[str],
        tally: Tally,
    ) -> list[str]:  # fmt: skip
        faults: list[str] = []
        booted = list(before)
        for image in images:
            booted.append(image)
            outcome = self.rig.boot(device, image, self.scenario)
            tally.boots += 1
            layers = [after for layer in layers for after in judge.follow(layer, image)]
            found = judge.find_faults(layers, image, outcome, state, booted)
            faults += [f"booted {'+'.join(booted)}: {fault}" for fault in found]
        return faults

    def _try_twice(self, judge: Judge, state: State, layers: list[Layer], images: list[str], tally: Tally) -> list[str]:
        """Cut the first boot off once more."""
        again, device, second = self.rig.top / "again.disk", self.rig.top / "recorded", self.rig.top / "second.disk"
        copy_sparse(self.state, again)
        with Recorder(device, again) as recorder:
            outcome = self.rig.boot(device, images[0], self.scenario)
        if outcome.error:
            return [f"booted {images[0]}: {outcome.error.strip().splitlines()[-1]}"]
        records = recorder.read().records
        faults: list[str] = []
        cut = [after for layer in layers for after in judge.cut(layer, images[0])]
        for inner in choose(
            enumerate_states(records, self.chance, TEARS[self.rig.kind]), _STATES_OF_TWICE, self.chance
        ):
            copy_sparse(self.state, again)
            with again.open("r+b", buffering=0) as stream:
                _apply(stream.fileno(), (records[number] for number in range(inner.flushed)))
            _copy_with(again, second, records, inner)
            tally.states += 1
            wrong = check_disk(second, self.rig.kind)
            order = self.chance.choice(_ORDERS)
            found = [wrong] if wrong else self._boot_all(second, judge, state, cut, order, [images[0]], tally)
            faults += [f"cut again in {images[0]} at {inner.title}: {fault}" for fault in found]
        return faults


def _apply(fd: int, records: Iterator[Record]) -> None:
    for record in records:
        if record is not None:
            os.pwrite(fd, record[1], record[0])


def _copy_with(source: Path, target: Path, records: list[Record], state: State) -> None:
    copy_sparse(source, target)
    with target.open("r+b", buffering=0) as stream:
        _apply(stream.fileno(), (records[number] for number in state.more))
        if state.torn >= 0:
            record = records[state.torn]
            assert record is not None, "a flush has nothing to tear"
            os.pwrite(stream.fileno(), record[1][: state.size], record[0])

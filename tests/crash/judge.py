# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judges whether a boot came out right: by a merge made without the kernel, and by what had been synced."""

from __future__ import annotations

from crashboot import BACKUP, LOOSE, SYNCED, Outcome, Rig, View
from crashcases import Scenario
from crashstates import State

from imagechange import merge, prune, refresh

Layer = tuple[View, str]  # an upper layer, and the image that it was last over


class Judge:
    """Of one recording: `upper` is the upper layer before it, `marks` the number of records after which each thing was
    synced.
    """

    def __init__(self, rig: Rig, scenario: Scenario, upper: View, marks: dict[str, int]) -> None:
        self.rig = rig
        self.scenario = scenario
        self.upper = upper
        self.marks = marks
        self.loose = 0

    def begin(self, flushed: int) -> list[Layer]:
        """The upper layers that a disk may have whose power was cut while it was recorded."""
        layer = (self.upper, "a" if self.upper else "")
        step = self.scenario.step
        if step in ("boot", "first"):
            return self.cut(layer)
        asked = (self.request(self.upper), "a")
        # The request is there for sure if the call that stages it had returned, else perhaps.
        return [asked] if flushed >= self.marks["staged"] else [layer, asked]

    def cut(self, layer: Layer, image: str = "b") -> list[Layer]:
        """What `layer` may be when a boot of `image` was cut off."""
        half = self.follow(layer, image)
        return _unique([layer, *half, *((upper, layer[1]) for upper, _ in half)])

    def follow(self, layer: Layer, image: str) -> list[Layer]:
        """What a whole boot of `image` makes of a layer: it may have been done before, or not."""
        upper, before = layer
        if self.scenario.step in ("boot", "first"):
            upper = self.request(upper)
        view = self.rig.images[image]
        if before in ("", image):
            return [(upper, image)]
        if self.scenario.policy == "prune":
            return [(prune(upper, view), image)]
        if self.scenario.policy == "reset":
            return [({}, image)]
        if self.scenario.policy == "refresh":
            done = (refresh(upper, self.rig.images[before], view), image)
            # The list of b may not have been finished, and then nothing is dropped.
            return [done] if before == "a" else [done, (upper, image)]
        return [(upper, image)]

    def request(self, upper: View) -> View:
        """`upper` after the staged request, which is done once or twice."""
        lines = [line.partition(" ") for line in self.scenario.staged]
        paths = [path for verb, _, path in lines if verb == "path"]
        if any(verb == "all" for verb, _, _ in lines):
            kept = [path.removesuffix("/**") for verb, _, path in lines if verb == "keep"]
            return {
                path: what
                for path, what in upper.items()
                if any(_holds(keep, path) or (_holds(path, keep) and keep in upper) for keep in kept)
            }
        if self.scenario.name == "restore-in-opaque" and "opq" in upper:
            return _open(upper)
        return {path: what for path, what in upper.items() if not any(_holds(top, path) for top in paths)}

    def find_faults(
        self, layers: list[Layer], image: str, outcome: Outcome, state: State, booted: list[str]
    ) -> list[str]:
        """What is wrong with the boot of `image` on a disk that may have had `layers`; `booted` are the images of the
        boots after the recording, with this one.
        """
        if outcome.error:
            return [outcome.error.strip().splitlines()[-1] + f" ({outcome.said.strip()})"]
        passed = self.scenario.passed.get(image, ())
        faults = self._compare(layers, image, outcome)
        faults += self._judge_user(outcome, state.flushed, booted)
        faults += self._judge_raw(outcome)
        last = max((state.flushed - 1, state.torn, *state.more))
        if booted == ["b"] and last < self.marks.get("mounted", 0):
            # The overlay had not been mounted over this image: later it has references of its own.
            faults += [f"{name} refers to another image" for name in outcome.marked]
        faults += [fault for path in passed for fault in self._judge_passed(path, outcome, booted)]
        others = {path for paths in self.scenario.passed.values() for path in paths} - set(passed)
        faults += [fault for path in others for fault in self._judge_not_passed(path, outcome)]
        if self.scenario.policy in ("prune", "refresh"):
            faults += self._judge_dropped(outcome)
        return faults

    def _compare(self, layers: list[Layer], image: str, outcome: Outcome) -> list[str]:
        view = self.rig.images[image]
        expected = [merge(upper, view, [self.rig.images["a"]]) for upper, _ in layers]
        tops = {"u", *(path for paths in self.scenario.passed.values() for path in paths)}
        paths = {path for one in (*expected, outcome.view) for path in one if path.split("/")[0] not in tops}
        return [
            f"{path} is {_short(outcome.view.get(path))}, not {[_short(one.get(path)) for one in expected]}"
            for path in sorted(paths)
            if outcome.view.get(path) not in [one.get(path) for one in expected]
        ]

    def _judge_user(self, outcome: Outcome, flushed: int, booted: list[str]) -> list[str]:
        faults = []
        dropped = self.scenario.policy == "reset" and "a" in booted
        for name, text in SYNCED.items():
            if name in self.marks and flushed >= self.marks[name] and not dropped:
                found = outcome.view.get(name, ("missing",))
                if found[-1] != text:
                    faults.append(f"{name} was synced, and is {_short(found)}")
        if "u/first" in self.marks and flushed >= self.marks["u/first"] and not dropped:
            self.loose += outcome.view.get("u/loose", ("missing",))[-1] != LOOSE
        return faults

    def _judge_raw(self, outcome: Outcome) -> list[str]:
        faults = [f"{name} is visible scratch" for name in outcome.names if "new-by-overlay-generator" in name]
        faults += [f"{name} is left" for name in outcome.names if name in ("reset", "reset.refused", "probe")]
        return faults

    def _find_store(self, path: str, upper: View, image: str) -> View:
        merged = merge(upper, self.rig.images[image], [self.rig.images[image]])
        return {name[len(path) + 1 :]: what for name, what in merged.items() if name.startswith(path + "/")}

    def _judge_passed(self, path: str, outcome: Outcome, booted: list[str]) -> list[str]:
        found = outcome.direct.get(self.rig.flat(path))
        if found is None:
            return [f"{path} is not passed through"]
        if set(outcome.direct) - {self.rig.flat(path)}:
            return [f"{sorted(outcome.direct)} are in direct"]
        uppers = [self.request(self.upper)]
        if self.scenario.policy == "prune":
            uppers.append(prune(self.upper, self.rig.images["b"]))
        allowed = [self._find_store(path, upper, image) for upper in uppers for image in {"b", *booted}]
        if found in allowed:
            return []
        wrong = {name for name in found.keys() | allowed[0].keys() if found.get(name) != allowed[0].get(name)}
        return [f"{path} is a mixture: {[(name, _short(found.get(name))) for name in sorted(wrong)]}"]

    def _judge_not_passed(self, path: str, outcome: Outcome) -> list[str]:
        """The user's files have to be seen, or a message says where they are."""
        mine = {name: what for name, what in self.upper.items() if _holds(path, name) and what[-1] == "mine\n"}
        full = outcome.direct.get(self.rig.flat(path), outcome.direct.get(self.rig.flat(path) + ".full", {}))
        told = "is not passed through by this image" in outcome.said
        faults = []
        for name, what in mine.items():
            if outcome.view.get(name) != what and not (told and full.get(name[len(path) + 1 :]) == what):
                faults.append(f"{name} is neither seen nor said where it is")
        return faults

    def _judge_dropped(self, outcome: Outcome) -> list[str]:
        lines = outcome.dropped.splitlines()
        faults = [
            f"dropped has the line {line[:60]!r}"
            for line in lines
            if not line.startswith(("# ", "/", "deleted /")) or "\0" in line
        ]
        listed = {line.removeprefix("deleted ").removeprefix(f"{self.rig.where}/") for line in lines}
        passed = {path for paths in self.scenario.passed.values() for path in paths}
        for path, what in self.upper.items():
            gone = path not in outcome.upper and what[0] != "directory"
            seen = path in self.rig.images["b"] or what[0] != "whiteout"
            if gone and seen and path not in listed and not any(_holds(top, path) for top in passed):
                faults.append(f"{path} went and is not listed in dropped")
        return faults

    def judge_files(self, files: dict[str, bytes], whole: dict[str, bytes], flushed: int) -> list[str]:
        """The same for what overlayctl writes: `files` on the disk by name, `whole` as they were when it was done."""
        faults = []
        for name, content in whole.items():
            found = files.get(name)
            if found is not None and found != content:
                faults.append(f"{name} is torn: {len(found)} bytes of {len(content)}")
            if found is None and flushed >= self.marks["staged"]:
                faults.append(f"{name} is lost")
        if "var/reset" in files and BACKUP in whole and BACKUP not in files:
            faults.append("a reset is staged, and its backup is lost")
        return faults


def _holds(top: str, path: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _open(upper: View) -> View:
    """As restoring opq/sub/y leaves it: what the user removed there is deleted by name, and sub is the user's alone."""
    changed = dict(upper)
    changed["opq"] = upper["opq"][:2]
    changed.setdefault("opq/x", ("whiteout",))
    return changed


def _unique(layers: list[Layer]) -> list[Layer]:
    found: list[Layer] = []
    for layer in layers:
        if layer not in found:
            found.append(layer)
    return found


def _short(what: object) -> str:
    text = str(what)
    return text if len(text) < 60 else f"{text[:40]}… ({len(text)})"

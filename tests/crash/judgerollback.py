# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judges boots of images with Rollback=yes: the one that goes back finds its own, and nobody's data are gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from judge import Judge, Layer

from imagechange import prune
from rollbackhistory import combine

if TYPE_CHECKING:
    from crashboot import Outcome, Rig, View
    from crashcases import Scenario
    from crashstates import State

A, BOTH = "a's own", "both"


class RollbackJudge(Judge):
    """`upper` is what image a has left, `newer` what was written over b, on top of that. A layer is what shows, and A
    where only what a had can be seen, BOTH with what came on top.
    """

    def __init__(self, rig: Rig, scenario: Scenario, upper: View, marks: dict[str, int], newer: View) -> None:
        super().__init__(rig, scenario, upper, marks)
        self.newer = newer
        self.was_cut = False  # the first boot of this state

    def begin(self, flushed: int) -> list[Layer]:
        """As that of Judge."""
        self.was_cut = False
        mine: Layer = (self.upper, A)
        # As b shows them: with a policy, without what that has dropped.
        both: Layer = (combine(self.newer, self._under_b(), list(self.rig.images.values())), BOTH)
        if self.scenario.step == "freeze":
            return [mine]
        if self.scenario.step == "fold":
            return [both]
        # Whoever sees the overlay of the image that has gone back finds all of that on the disk.
        return [mine] if flushed >= self.marks["mounted"] else [mine, both]

    def cut(self, layer: Layer, image: str = "b") -> list[Layer]:
        """As that of Judge."""
        self.was_cut = True
        found = [layer]
        found += [one for one in self.follow(layer, image) if one not in found]
        return found

    def follow(self, layer: Layer, image: str) -> list[Layer]:
        """As that of Judge."""
        if self.scenario.step == "step-back" and image == "a":
            return [(self.upper, A)]
        return [layer]

    def _under_b(self) -> View:
        return prune(self.upper, self.rig.images["b"]) if self.scenario.policy == "prune" else self.upper

    def _compare(self, layers: list[Layer], image: str, outcome: Outcome) -> list[str]:
        shown = [(self._under_b(), tag) if tag == A and image == "b" else (upper, tag) for upper, tag in layers]
        return super()._compare(shown, image, outcome)

    def _judge_user(self, outcome: Outcome, flushed: int, booted: list[str]) -> list[str]:
        """What was synced over b may be seen by that alone, and is put aside when a comes back."""
        if self.scenario.step != "freeze" or "a" not in booted:
            return super()._judge_user(outcome, flushed, booted)
        if self.was_cut and booted == ["a", "b"] and "u" in outcome.view:
            # The step back was cut off before it had begun on the disk: b has what was written over it, and all of it.
            return super()._judge_user(outcome, flushed, ["b"])
        faults = [f"{path} was written over b, and a sees it" for path in outcome.view if path.split("/")[0] == "u"]
        if any(self.marks[name] <= flushed and name not in outcome.undone for name in ("u/first", "u/second")):
            faults.append("what was synced over b is not in undone")
        return faults

    def _judge_raw(self, outcome: Outcome) -> list[str]:
        faults = super()._judge_raw(outcome)
        seen = "late" in outcome.view
        if self.scenario.step == "step-back" and not seen and outcome.undone != self.newer:
            faults.append("what was written over b is neither seen nor in undone as it was")
        return faults

    def _judge_dropped(self, _outcome: Outcome) -> list[str]:
        return []  # the list is of b's boot, and is kept apart from what comes back

    def find_faults(
        self, layers: list[Layer], image: str, outcome: Outcome, state: State, booted: list[str]
    ) -> list[str]:
        """As that of Judge; an update that is not frozen shows nothing of all this."""
        if self.scenario.step == "step-back":
            # Those of what was written over b refer to b, and are not touched where b goes on.
            outcome = replace(outcome, marked=[])
        faults = super().find_faults(layers, image, outcome, state, booted)
        return faults + ["not frozen"] * ("will not go back" in outcome.said)

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a disk may hold after a power cut: which states are made of a record."""

import random

from crashstates import State, choose, choose_around, enumerate_states, find_windows

_WRITE = (1 << 20, b"x" * 8192)
_RECORDS = [_WRITE, _WRITE, None, _WRITE, _WRITE, _WRITE, None, _WRITE]


def test_windows_end_where_a_flush_was_done() -> None:
    assert find_windows(_RECORDS) == [(0, [0, 1]), (3, [3, 4, 5]), (7, [7])]
    assert find_windows([]) == [(0, [])]


def test_all_before_the_last_flush_is_there_and_every_prefix_of_the_rest() -> None:
    states = enumerate_states(_RECORDS, random.Random(1), (512,))
    assert [state.flushed for state in states] == sorted(state.flushed for state in states)
    assert {State(3), State(3, (3,)), State(3, (3, 4)), State(3, (3, 4, 5)), State(7), State(7, (7,))} <= set(states)
    assert all(number >= state.flushed for state in states for number in state.more)


def test_some_are_subsets_and_some_are_torn() -> None:
    states = [state for seed in range(20) for state in enumerate_states(_RECORDS, random.Random(seed), (512, 4096))]
    assert [state for state in states if state.more == (3, 5)]
    torn = [state for state in states if state.torn >= 0]
    assert {state.size % 512 for state in torn} == {0}
    assert all(0 < state.size < 8192 and state.torn not in state.more for state in torn)


def test_the_same_seed_makes_the_same_states() -> None:
    first, second = (enumerate_states(_RECORDS, random.Random(7), (512,)) for _ in range(2))
    assert first == second
    chosen = choose(first, 3, random.Random(1))
    assert len(chosen) == 3
    assert [first.index(state) for state in chosen] == sorted(first.index(state) for state in chosen)


def test_the_start_of_a_disk_is_never_torn() -> None:
    records = [(1024, b"x" * 2048), (0, b"x" * 8192)]
    assert not [state for state in enumerate_states(records, random.Random(1), (512,), tears=50) if state.torn >= 0]


def test_the_states_around_a_moment() -> None:
    states = [State(number) for number in range(0, 100, 10)]
    assert choose_around(states, 3, 41) == [State(30), State(40), State(50)]
    assert choose_around(states, 3, 1000) == [State(70), State(80), State(90)]

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every directory in cases/ is a machine, for which the installed executable must do what `expected` says.

It runs twice: at boot, and as a daemon-reload finds the machine, with what the first run asked for mounted.
Both must write the same bytes. `pytest --regold` writes `expected` anew; read the difference before a commit.
"""

import shutil
from pathlib import Path

import pytest

import fakeroot
from product import Run
from runcase import CASES, read, run_in


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, run: Run, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = tmp_path / "root"
    fakeroot.build(case, root)
    environ = dict(line.split("=", 1) for line in read(case / "env").splitlines())

    first = run_in(run, root, tmp_path / "first", environ)
    _mount(tmp_path / "first", root)
    second = run_in(run, root, tmp_path / "second", environ)

    expected = case / "expected"
    if request.config.getoption("--regold"):
        expected.write_text(first, encoding="utf-8")
    assert first == expected.read_text(encoding="utf-8")
    assert second == first
    assert (case / "README").read_text().count("\n") == 1, "README: one line that says what the case is about"


def _mount(out: Path, root: Path) -> None:
    """Let the machine's mountinfo show every mount unit in `out` mounted, as the kernel would show it."""
    lines = []
    for unit in out.glob("*/*.mount"):
        settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
        where = settings["Where"].replace("%%", "%").replace("\\", "\\134").replace(" ", "\\040")
        kind = settings["Type"]
        lines.append(f"99 1 0:99 / {where} rw,relatime shared:9 - {kind} {settings['What']} rw,{settings['Options']}\n")
        if kind == "overlay":
            backing = settings["Options"].partition("lowerdir=")[2].partition("/lower,")[0]
            lines.append(f"98 1 254:0 / {backing}/lower ro,nosuid,nodev,noexec - squashfs /dev/root ro\n")
    mountinfo = root / "proc/self/mountinfo"
    if lines and mountinfo.exists():  # an image's tree has no /proc, and is never reloaded
        with mountinfo.open("a") as stream:
            stream.writelines(sorted(lines))


def test_the_output_depends_on_nothing_else(run: Run, tmp_path: Path) -> None:
    """100 runs with other hash seeds, and trees whose directories were filled in another order."""
    case = fakeroot.CASES / "05-several-directories"
    seen = set()
    for seed in range(100):
        if seed % 25 == 0:
            root = tmp_path / f"root{seed}"
            fakeroot.build(case, root)
            for number in range(seed):
                (root / f"run/systemd/system/{(number * 7919) % 101}.mount").parent.mkdir(parents=True, exist_ok=True)
                (root / f"run/systemd/system/{(number * 7919) % 101}.mount").write_text("x")
        out = tmp_path / "out"
        # -I makes the interpreter ignore PYTHONHASHSEED, so each run has a seed of its own already.
        seen.add(run_in(run, root, out, {}))
        shutil.rmtree(out)
    assert len(seen) == 1

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start a QEMU machine, wait for its end, and choose how it is to be emulated."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from architectures import Architecture, host_architecture
from debian import Base
from steps import StepFailed
from watch import Ended, Event, run_until

PROBE_SECONDS = 20
TIMEOUT_TCG, TIMEOUT_KVM = 480.0, 90.0
# 8 ns for an instruction: 125 million of them a second, as on a small device. Then the time in the machine goes by the
# instructions it executes, and no time limit in it passes because the host is busy.
ICOUNT = "shift=3,sleep=on"
TIMEOUT_ICOUNT = 1800.0
# MiB, where a boot says nothing else.
MEMORY = 512
# MiB: a buffer of 4 MiB takes 8, as each of its records is also described.
ROOM_FOR_LOG = 128
# What the machine or its PID 1 writes where a cut begins to count: the file, and the line in it.
CUT_SIGNS = {
    "writes": ("result.log", "^info kept-"),
    "prepare": ("console.log", "Starting .*[Pp]repare the overlay"),
    "times": ("result.log", "^info time-end"),
}
# A kernel that patches itself while its other processor runs there: seen to crash in QEMU 7.2 without KVM, once in some
# fifty boots, always before the first program.
CRASH, ALIVE = re.compile("Kernel panic"), re.compile(r"initramfs: |Welcome to|systemd\[1\]|\[ *OK *\]")
STARTS = 3
# What the machine writes to its result port when it wants its late disks.
ASKS_FOR_DISKS = "^info plug-in"

# The words of every boot. A crash must end the machine. PID 1 logs where the last script can still read it, and from
# there journald takes it. No forward_to_kmsg: journald then ignores what generators write to kmsg. The kernel's check
# of its timer fails on a busy host, and then it panics (6.12).
CMDLINE = (
    "root=/dev/vda ro rootfstype={root} console={console} loglevel=4 panic=-1 oops=panic systemd.crash_reboot=yes "
    "no_timer_check norandmaps mitigations=off printk.devkmsg=on log_buf_len={log} systemd.log_target=kmsg "
    "systemd.show_status=yes systemd.log_color=no"
)


@dataclass(frozen=True)
class Machine:
    """How machines are run: the accelerator and its processor model, processors, MiB, seconds.

    With icount, an option of QEMU's of that name, the time in the machine goes by the instructions it executes.
    """

    architecture: Architecture
    accelerator: str
    cpu: str
    timeout: float
    processors: int = 2
    memory: int = MEMORY
    icount: str = ""


@dataclass(frozen=True)
class Start:
    """What one machine is given; disks are paths and whether they are read-only, by name.

    memory is in MiB, 0 for that of the machine. With a word of CUT_SIGNS in cut_at the power goes cut_after seconds
    after the machine has got there. A disk that is in late is plugged in so many seconds after the start, or when
    the machine asks for it where that is None.
    """

    kernel: Path
    initramfs: Path
    image: Path
    cmdline: str
    root: str = "squashfs"
    disks: Mapping[str, tuple[Path, bool]] = field(default_factory=dict)
    memory: int = 0
    cut_at: str = ""
    cut_after: float = 0.0
    late: Mapping[str, float | None] = field(default_factory=dict)


def choose_machine(base: Base, timeout: float | None = None, *, icount: bool = False) -> Machine:
    """Return the fastest way to run machines that works on this host: KVM when a probe boots, else emulation.

    With icount the time in them goes by instructions, on one processor: slower, but alike on a busy host.
    """
    wanted = base.architecture
    if icount:
        limit = timeout or TIMEOUT_ICOUNT
        return Machine(wanted, "tcg,thread=single", wanted.cpu, limit, processors=1, icount=ICOUNT)
    if wanted == host_architecture() and _kvm_is_offered() and _probe_boots(base):
        return Machine(wanted, "kvm", "host", timeout or TIMEOUT_KVM)
    return Machine(wanted, "tcg,thread=multi", wanted.cpu, timeout or TIMEOUT_TCG)


def spell_cmdline(architecture: Architecture, root: str, memory: int, words: str) -> str:
    """Return the kernel command line that a machine is started with."""
    log = "4M" if memory >= ROOM_FOR_LOG else "256K"
    return f"{CMDLINE.format(root=root, console=architecture.console, log=log)} {words}".strip()


def boot(machine: Machine, start: Start, results: Path) -> Ended:
    """Run a machine to its end and return how it ended; results gets console.log, result.log, qemu.log.

    Raises FileNotFoundError when QEMU is not installed, StepFailed when the command line is too long.
    """
    if start.memory:
        machine = replace(machine, memory=start.memory)
    cmdline = spell_cmdline(machine.architecture, start.root, machine.memory, start.cmdline)
    if len(cmdline) > machine.architecture.longest_cmdline:
        raise StepFailed(f"step 'start a machine': too many checks for a kernel command line: {cmdline}")
    argv = _base_argv(machine, start.kernel, start.initramfs, cmdline, results / "console.log")
    argv += _disk_argv("root", start.image, True)
    for name, (path, read_only) in start.disks.items():
        argv += _drive_argv(name, path, read_only) if name in start.late else _disk_argv(name, path, read_only)
    argv += [
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=result,path={_quoted(results / 'result.log')}",
        "-device", "virtserialport,chardev=result,name=result",
    ]  # fmt: skip
    events = [_cut(results, start.cut_at, start.cut_after)] if start.cut_at else []
    if start.late:
        # Orders go to its standard input, the answers to qemu.log.
        argv += ["-chardev", "stdio,id=orders", "-mon", "chardev=orders,mode=control"]
    for name, after in start.late.items():
        device = {"driver": "virtio-blk-pci", "drive": name, "serial": name, "id": f"late-{name}"}
        order = {"execute": "device_add", "arguments": device}
        asked = None if after is not None else (results / "result.log", re.compile(ASKS_FOR_DISKS, re.M))
        events.append(Event(asked, after or 0.0, order))
    for number in range(1, STARTS):
        ended = run_until(argv, machine.timeout, results / "qemu.log", events)
        if not crashed_early(results / "console.log"):
            return ended
        (results / "console.log").rename(results / f"crash-{number}.log")
    return run_until(argv, machine.timeout, results / "qemu.log", events)


def crashed_early(console: Path) -> bool:
    """Return whether the kernel crashed before it ran a program, and so before anything was written to a disk."""
    text = console.read_text(errors="replace") if console.exists() else ""
    return CRASH.search(text) is not None and ALIVE.search(text) is None


def _cut(results: Path, at: str, after: float) -> Event:
    name, text = CUT_SIGNS[at]
    return Event((results / name, re.compile(text, re.M)), after)


def _base_argv(machine: Machine, kernel: Path, initramfs: Path, cmdline: str, console: Path) -> list[str]:
    return [
        machine.architecture.qemu, *machine.architecture.words,
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-accel", machine.accelerator, "-cpu", machine.cpu,
        "-smp", str(machine.processors), "-m", str(machine.memory),
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline,
        "-chardev", f"file,id=console,path={_quoted(console)}", "-serial", "chardev:console",
        "-device", "virtio-rng-pci", *(["-icount", machine.icount] if machine.icount else []),
    ]  # fmt: skip


def _drive_argv(name: str, path: Path, read_only: bool) -> list[str]:
    return ["-drive", f"if=none,id={name},format=raw,readonly={'on' if read_only else 'off'},file={_quoted(path)}"]


def _disk_argv(name: str, path: Path, read_only: bool) -> list[str]:
    return [*_drive_argv(name, path, read_only), "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _quoted(path: Path) -> str:
    """Return a path as QEMU's option lists want it: a comma is doubled."""
    return str(path).replace(",", ",,")


def _kvm_is_offered() -> bool:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return os.access("/dev/kvm", os.W_OK) and re.search(r"^flags\b.*\b(vmx|svm)\b", cpuinfo, re.M) is not None


def _probe_boots(base: Base) -> bool:
    """Return whether a guest comes to run a program: a KVM that is offered may still crash its guests."""
    machine = Machine(base.architecture, "kvm", "host", PROBE_SECONDS)
    with tempfile.TemporaryDirectory() as name:
        console = Path(name) / "console.log"
        words = f"console={base.architecture.console} panic=-1 quiet"
        argv = _base_argv(machine, base.kernel, base.probe, words, console)
        ended = run_until(argv, PROBE_SECONDS, Path(name) / "qemu.log")
        text = console.read_text(errors="replace") if console.exists() else ""
    return not ended.timed_out and ended.status == 0 and "probe: a program runs" in text

"""Start a QEMU machine, wait for its end, and choose how it is to be emulated."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

QEMU = "qemu-system-x86_64"
PROBE_SECONDS = 20
TIMEOUT_TCG, TIMEOUT_KVM = 240.0, 90.0
CUT_POLL = 0.1

# Said on every boot. A crash must end the machine. PID 1 logs where the last script can still read it, and
# from there journald takes it. No forward_to_kmsg: journald then ignores what generators write to kmsg.
CMDLINE = (
    "root=/dev/vda ro rootfstype={root} console=ttyS0 loglevel=4 panic=-1 oops=panic systemd.crash_reboot=yes "
    "printk.devkmsg=on log_buf_len=4M systemd.log_target=kmsg "
    "systemd.show_status=yes systemd.log_color=no"
)


@dataclass(frozen=True)
class Machine:
    """How machines are run: the accelerator and its processor model, processors, MiB, seconds."""

    accelerator: str
    cpu: str
    timeout: float
    processors: int = 2
    memory: int = 512


@dataclass(frozen=True)
class Start:
    """What one machine is given; disks are paths and whether they are read-only, by name.

    memory is in MiB, 0 for that of the machine. With a word in cut_at the power goes cut_after seconds after the
    machine has written a line that begins with it to its result port.
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


@dataclass(frozen=True)
class Ended:
    """How a machine ended: after how many seconds, by itself or not, and QEMU's own exit status."""

    seconds: float
    timed_out: bool
    status: int
    cut: bool = False


def choose_machine(kernel: Path, probe: Path, timeout: float | None = None) -> Machine:
    """Return the fastest way to run machines that works on this host: KVM when a probe boots, else TCG."""
    if _kvm_is_offered() and _probe_boots(kernel, probe):
        return Machine("kvm", "host", timeout or TIMEOUT_KVM)
    return Machine("tcg,thread=multi", "max", timeout or TIMEOUT_TCG)


def boot(machine: Machine, start: Start, results: Path) -> Ended:
    """Run a machine to its end and return how it ended; results gets console.log, result.log, qemu.log.

    Raises FileNotFoundError when QEMU is not installed.
    """
    if start.memory:
        machine = replace(machine, memory=start.memory)
    cmdline = f"{CMDLINE.format(root=start.root)} {start.cmdline}".strip()
    argv = _base_argv(machine, start.kernel, start.initramfs, cmdline, results / "console.log")
    argv += _disk_argv("root", start.image, True)
    for name, (path, read_only) in start.disks.items():
        argv += _disk_argv(name, path, read_only)
    told = results / "result.log"
    argv += [
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=result,path={_quoted(told)}",
        "-device", "virtserialport,chardev=result,name=result",
    ]  # fmt: skip

    def asks_for_the_cut() -> bool:
        return told.exists() and re.search(f"^{re.escape(start.cut_at)}", told.read_text("latin-1"), re.M) is not None

    cut = _Cut(asks_for_the_cut, start.cut_after) if start.cut_at else None
    return _run(argv, machine.timeout, results / "qemu.log", cut)


def _base_argv(machine: Machine, kernel: Path, initramfs: Path, cmdline: str, console: Path) -> list[str]:
    return [
        QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-accel", machine.accelerator, "-cpu", machine.cpu,
        "-smp", str(machine.processors), "-m", str(machine.memory),
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline,
        "-chardev", f"file,id=console,path={_quoted(console)}", "-serial", "chardev:console",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _disk_argv(name: str, path: Path, read_only: bool) -> list[str]:
    drive = f"if=none,id={name},format=raw,readonly={'on' if read_only else 'off'},file={_quoted(path)}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _quoted(path: Path) -> str:
    """Return a path as QEMU's option lists want it: a comma is said twice."""
    return str(path).replace(",", ",,")


@dataclass(frozen=True)
class _Cut:
    """When a machine loses its power: so many seconds after this came true."""

    due: Callable[[], bool]
    after: float


def _run(argv: list[str], timeout: float, log: Path, cut: _Cut | None = None) -> Ended:
    # A machine must not outlive its runner, however that ends.
    words = ["setpriv", "--pdeathsig", "KILL", *argv]
    started = time.monotonic()
    timed_out = was_cut = False
    with log.open("w") as out:
        out.write(f"{argv}\n")
        out.flush()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            if cut is None:
                process.wait(timeout)
            else:
                was_cut = _wait_for(process, cut, timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            process.kill()
            status = process.wait()
    return Ended(time.monotonic() - started, timed_out, status, was_cut)


def _wait_for(process: subprocess.Popen[bytes], cut: _Cut, timeout: float) -> bool:
    """Return True when it is time to cut, False when the machine ended before.

    Raises TimeoutExpired.
    """
    end = time.monotonic() + timeout
    while not cut.due():
        if time.monotonic() > end:
            raise subprocess.TimeoutExpired(process.args, timeout)
        if process.poll() is not None:
            return False
        time.sleep(CUT_POLL)
    time.sleep(cut.after)
    return process.poll() is None


def _kvm_is_offered() -> bool:
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return os.access("/dev/kvm", os.W_OK) and re.search(r"^flags\b.*\b(vmx|svm)\b", cpuinfo, re.M) is not None


def _probe_boots(kernel: Path, probe: Path) -> bool:
    """Return whether a guest comes to run a program: a KVM that is offered may still crash its guests."""
    machine = Machine("kvm", "host", PROBE_SECONDS)
    with tempfile.TemporaryDirectory() as name:
        console = Path(name) / "console.log"
        argv = _base_argv(machine, kernel, probe, "console=ttyS0 panic=-1 quiet", console)
        ended = _run(argv, PROBE_SECONDS, Path(name) / "qemu.log")
        text = console.read_text(errors="replace") if console.exists() else ""
    return not ended.timed_out and ended.status == 0 and "probe: a program runs" in text

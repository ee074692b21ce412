"""Start a QEMU machine, wait for its end, and choose how it is to be emulated."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

QEMU = "qemu-system-x86_64"
PROBE_SECONDS = 20
TIMEOUT_TCG, TIMEOUT_KVM = 240.0, 90.0

# Said on every boot. A crash must end the machine. PID 1 logs where the last script can still read it, and
# from there journald takes it. No forward_to_kmsg: journald then ignores what generators write to kmsg.
CMDLINE = (
    "root=/dev/vda ro console=ttyS0 loglevel=4 panic=-1 oops=panic systemd.crash_reboot=yes "
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
class Ended:
    """How a machine ended: after how many seconds, by itself or not, and QEMU's own exit status."""

    seconds: float
    timed_out: bool
    status: int


def choose_machine(kernel: Path, probe: Path, timeout: float | None = None) -> Machine:
    """Return the fastest way to run machines that works on this host: KVM when a probe boots, else TCG."""
    if _kvm_is_offered() and _probe_boots(kernel, probe):
        return Machine("kvm", "host", timeout or TIMEOUT_KVM)
    return Machine("tcg,thread=multi", "max", timeout or TIMEOUT_TCG)


def boot(
    machine: Machine,
    kernel: Path,
    initramfs: Path,
    image: Path,
    cmdline: str,
    disks: Mapping[str, Path],
    results: Path,
) -> Ended:
    """Run a machine to its end and return how it ended; results gets console.log, result.log, qemu.log.

    Raises FileNotFoundError when QEMU is not installed.
    """
    argv = _base_argv(machine, kernel, initramfs, f"{CMDLINE} {cmdline}".strip(), results / "console.log")
    argv += _disk_argv("root", image, "on")
    for name, path in disks.items():
        argv += _disk_argv(name, path, "off")
    argv += [
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=result,path={_quoted(results / 'result.log')}",
        "-device", "virtserialport,chardev=result,name=result",
    ]  # fmt: skip
    return _run(argv, machine.timeout, results / "qemu.log")


def _base_argv(machine: Machine, kernel: Path, initramfs: Path, cmdline: str, console: Path) -> list[str]:
    return [
        QEMU, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-accel", machine.accelerator, "-cpu", machine.cpu,
        "-smp", str(machine.processors), "-m", str(machine.memory),
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", cmdline,
        "-chardev", f"file,id=console,path={_quoted(console)}", "-serial", "chardev:console",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _disk_argv(name: str, path: Path, read_only: str) -> list[str]:
    drive = f"if=none,id={name},format=raw,readonly={read_only},file={_quoted(path)}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}"]


def _quoted(path: Path) -> str:
    """Return a path as QEMU's option lists want it: a comma is said twice."""
    return str(path).replace(",", ",,")


def _run(argv: list[str], timeout: float, log: Path) -> Ended:
    # A machine must not outlive its runner, however that ends.
    words = ["setpriv", "--pdeathsig", "KILL", *argv]
    started = time.monotonic()
    with log.open("w") as out:
        out.write(f"{argv}\n")
        out.flush()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            status = process.wait(timeout)
            timed_out = False
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            process.kill()
            status = process.wait()
    return Ended(time.monotonic() - started, timed_out, status)


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

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hooks of updaters: each refuses an update, or lets it through.

RAUC and SWUpdate are run as they are in Debian, with a bundle and slots on loop devices. What Mender and
systemd-sysupdate give to a script is given here, by their documentation. What is under the overlay comes from files.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from previewing import make_image
from product import REPOSITORY
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="slots need root")

HOOKS = REPOSITORY / "packaging/updaters"
SCRIPTS = [path for path in sorted(HOOKS.iterdir()) if path.suffix != ".conf"]
REFUSED = "overlayctl: refused by --fail-on: 1 hidden"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_form_of_a_hook(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 20
    assert os.access(path, os.X_OK)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)


class Slots:
    """Two slots on loop devices, a new image, and a device that has changed a file of the old one or not."""

    def __init__(self, top: Path) -> None:
        self.top = top
        fill(top / "old/var", "conf=1")
        (top / "disk/upper").mkdir(parents=True)
        tree = fill(top / "new", "var/conf=22", "usr/lib/os-release=IMAGE_VERSION=2")
        self.image = make_image("squashfs", tree, top / "rootfs.img")
        self.devices = []
        for name in "ab":
            (top / name).write_bytes(bytes(1 << 20))
            done = subprocess.run(["losetup", "-f", "--show", top / name], capture_output=True, text=True, check=True)
            self.devices.append(done.stdout.strip())
        # What a device has mounted is given to the command here.
        self.put("bin/overlayctl", f'''#!/bin/sh
            PYTHONPATH={REPOSITORY}/generator exec python3 -m overlayctl "$@" --upper {top}/disk/upper --old {top}/old
            ''', 0o755)  # fmt: skip
        self.environ = {"PATH": f"{top}/bin:{os.environ['PATH']}"}

    def put(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.top / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("\n            ", "\n"))
        path.chmod(mode)
        return path

    def change(self) -> None:
        """Let the device hide a file of the new image."""
        (self.top / "disk/upper/conf").write_text("mine")

    def write(self) -> None:
        """Let the new image be in the second slot."""
        with open(self.devices[1], "r+b") as stream:
            stream.write(self.image.read_bytes())

    def run(self, *words: "str | Path", **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            list(map(str, words)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.top,
            env={**self.environ, **environ},
            timeout=300,
            check=False,
        )


@pytest.fixture
def slots(tmp_path: Path) -> "Iterator[Slots]":
    slots = Slots(tmp_path)
    yield slots
    subprocess.run(["losetup", "-d", *slots.devices], check=True)


def need(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            assert not os.environ.get("CI"), f"{program} is not installed"
            pytest.skip(f"{program} is not installed")


def sign(slots: Slots) -> None:
    words = ["-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=test"]
    done = slots.run("openssl", "req", "-x509", *words, "-addext", "extendedKeyUsage=emailProtection")
    assert done.returncode == 0, done.stdout


RAUC = """
rauc --conf=system.conf --override-boot-slot=A service >service.log 2>&1 &
service=$!
for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    sleep 1
    rauc --conf=system.conf status >/dev/null 2>&1 && break
done
status=0
rauc --conf=system.conf install "$PWD/update.raucb" || status=$?
kill $service
exit $status
"""


def install_by_rauc(slots: Slots, hook: str) -> "subprocess.CompletedProcess[str]":
    """What `rauc install` does with a bundle; the hook is the machine's handler or the bundle's."""
    need("rauc", "dbus-run-session", "openssl")
    sign(slots)
    top = slots.top
    handler = f"post-install={HOOKS}/rauc" if hook == "handler" else ""
    backend = '#!/bin/sh\necho "$@" >>boot.log\ncase $1 in get-primary) echo A ;; get-state) echo good ;; esac\n'
    slots.put("backend", backend.replace("boot.log", f"{top}/boot.log"), 0o755)
    (top / "mnt").mkdir()
    slots.put("system.conf", f"""[system]
            compatible=test
            bootloader=custom
            mountprefix={top}/mnt
            statusfile={top}/status
            {'activate-installed=false' if hook == 'handler' else ''}
            [keyring]
            path={top}/cert.pem
            [handlers]
            bootloader-custom-backend={top}/backend
            {handler}
            [slot.rootfs.0]
            device={slots.devices[0]}
            type=raw
            bootname=A
            [slot.rootfs.1]
            device={slots.devices[1]}
            type=raw
            bootname=B
            """)  # fmt: skip
    bundle = top / "bundle"
    bundle.mkdir()
    shutil.copy(slots.image, bundle / "rootfs.img")
    more = ""
    if hook == "bundle":
        shutil.copy(HOOKS / "rauc", bundle / "hook")
        more = "[hooks]\nfilename=hook\n"
    in_image = "hooks=post-install\n" if hook == "bundle" else ""
    slots.put(
        "bundle/manifest.raucm",
        f"[update]\ncompatible=test\nversion=2\n{more}[image.rootfs]\nfilename=rootfs.img\n{in_image}",
    )
    done = slots.run("rauc", "--cert=cert.pem", "--key=key.pem", "bundle", "bundle", "update.raucb")
    assert done.returncode == 0, done.stdout
    slots.put("install", RAUC)
    done = slots.run(
        "dbus-run-session", "--", "sh", "-c", "export DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS; . ./install"
    )
    done.stdout += (top / "service.log").read_text()
    return done


@pytest.mark.parametrize("hook", ["handler", "bundle"])
def test_rauc_refuses(hook: str, slots: Slots) -> None:
    slots.change()
    done = install_by_rauc(slots, hook)
    assert done.returncode == 1, done.stdout
    assert "hook" in done.stdout.lower() if hook == "bundle" else "Post-install handler error" in done.stdout
    assert REFUSED in done.stdout
    # The machine still boots what it ran.
    assert "set-primary" not in (slots.top / "boot.log").read_text()


@pytest.mark.parametrize("hook", ["handler", "bundle"])
def test_rauc_lets_through(hook: str, slots: Slots) -> None:
    done = install_by_rauc(slots, hook)
    assert done.returncode == 0, done.stdout
    assert "/var: 0 entries, Policy=keep" in done.stdout
    assert Path(slots.devices[1]).read_bytes()[: slots.image.stat().st_size] == slots.image.read_bytes()
    assert ("set-primary B" in (slots.top / "boot.log").read_text()) == (hook == "bundle")


def install_by_swupdate(slots: Slots) -> "subprocess.CompletedProcess[str]":
    need("swupdate", "cpio", "openssl")
    sign(slots)
    shutil.copy(HOOKS / "swupdate", slots.top / "hook")
    digests = {name: sha256((slots.top / name).read_bytes()).hexdigest() for name in ("rootfs.img", "hook")}
    device = slots.devices[1]
    slots.put("sw-description", f"""software = {{
            version = "2";
            hardware-compatibility: [ "1.0" ];
            images: ( {{ filename = "rootfs.img"; device = "{device}"; type = "raw"; sha256 = "{digests["rootfs.img"]}"; }} );
            scripts: ( {{ filename = "hook"; type = "shellscript"; data = "{device}"; sha256 = "{digests["hook"]}"; }} );
            }}
            """)  # fmt: skip  # noqa: E501
    words = ["-outform", "DER", "-nosmimecap", "-binary", "-signer", "cert.pem", "-inkey", "key.pem"]
    done = slots.run("openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", *words)
    assert done.returncode == 0, done.stdout
    names = "sw-description sw-description.sig rootfs.img hook"
    done = slots.run("sh", "-c", f"printf '%s\\n' {names} | cpio -o -H crc >update.swu")
    assert done.returncode == 0, done.stdout
    # Into a file: its processes write on for a moment after the first of them has ended.
    command = "swupdate -v -i update.swu -k cert.pem -H board:1.0 >log 2>&1"
    # Its sockets and scripts are there: another SWUpdate may run on this machine.
    done = slots.run("sh", "-c", command, TMPDIR=str(slots.top))
    log = slots.top / "log"
    deadline = time.monotonic() + 30
    while "No SWUPDATE running" not in log.read_text(errors="replace") and time.monotonic() < deadline:
        time.sleep(0.2)
    done.stdout = log.read_text(errors="replace")
    return done


def test_swupdate_refuses(slots: Slots) -> None:
    slots.change()
    done = install_by_swupdate(slots)
    assert done.returncode == 1, done.stdout
    assert REFUSED in done.stdout
    assert "SWUpdate was successful !" not in done.stdout
    assert "execute postinstall scripts failed" in done.stdout


def test_swupdate_lets_through(slots: Slots) -> None:
    done = install_by_swupdate(slots)
    # By its own word: its exit status is now and then 1 after that (2 of 8 times on a busy machine).
    assert "SWUpdate was successful !" in done.stdout, done.stdout
    assert "/var: 0 entries, Policy=keep" in done.stdout


def test_mender(slots: Slots) -> None:
    """A state script gets no arguments; the client's configuration names the partitions."""
    slots.write()
    names = dict(zip("AB", slots.devices))
    slots.put("mender.conf", "{" + ", ".join(f'"RootfsPart{key}": "{value}"' for key, value in names.items()) + "}\n")
    # The machine runs from the first slot.
    number = subprocess.run(["lsblk", "-dno", "MAJ:MIN", slots.devices[0]], capture_output=True, text=True, check=True)
    slots.put("bin/findmnt", f"#!/bin/sh\necho ' {number.stdout.strip()}'\n", 0o755)
    hook = HOOKS / "ArtifactInstall_Leave_50_overlay-preview"
    conf = str(slots.top / "mender.conf")
    done = slots.run(hook, MENDER_CONF=conf)
    assert done.returncode == 0, done.stdout
    slots.change()
    done = slots.run(hook, MENDER_CONF=conf)
    assert (done.returncode, REFUSED in done.stdout) == (1, True), done.stdout
    slots.put("mender.conf", "{}\n")
    done = slots.run(hook, MENDER_CONF=conf)
    assert (done.returncode, "names no RootfsPartA" in done.stdout) == (1, True)


def test_sysupdate(slots: Slots) -> None:
    """ExecStartPre= of the service that reboots, with the environment of the drop-in."""
    slots.write()
    lines = (HOOKS / "sysupdate.conf").read_text().splitlines()
    key, _, pattern = next(line for line in lines if line.startswith("Environment=")).partition("=")[2].partition("=")
    (slots.top / "labels").mkdir()
    for label, device in zip(("demo_9", "demo_10"), slots.devices):
        (slots.top / "labels" / label).symlink_to(device)
    environ = {key: pattern, "OVERLAY_BY_LABEL": str(slots.top / "labels")}
    done = slots.run(HOOKS / "sysupdate", **environ)
    assert done.returncode == 0, done.stdout
    slots.change()
    done = slots.run(HOOKS / "sysupdate", **environ)
    assert (done.returncode, REFUSED in done.stdout) == (1, True), done.stdout
    done = slots.run(HOOKS / "sysupdate", **{**environ, key: "other_*"})
    assert done.returncode == 1

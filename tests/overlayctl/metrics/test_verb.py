# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl metrics on real overlays, and the file that it leaves for node_exporter."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from openmetrics import parse
from overlayctl.errors import Failure
from overlayctl.metrics import textfile
from overlayctl.metrics.verb import _count_dropped
from product import REPOSITORY, Run


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    device = Device(run, image, tmp_path)
    device.add_disk()
    return device


def measure(device: Device, script: str, disk: bool = True) -> str:
    """What the last command of `script` prints."""
    device.boot(f"{script} >/tmp/printed", disk=disk)
    return (device.root / "tmp/printed").read_text()


def values(text: str) -> "dict[str, float]":
    return {sample.name: sample.value for family in parse(text) for sample in family.samples}


@needs_mounts
def test_a_device_with_a_disk_and_without(device: Device) -> None:
    stage = f"echo all >{VAR}/reset; printf '# prune: x\\n/var/a\\ndeleted /var/b\\n' >{VAR}/dropped; touch {VAR}/x"
    stage += f"; printf '# refresh: y\\n/var/c\\n' >{VAR}/dropped.old"
    found = values(measure(device, f"{stage}; overlayctl metrics"))
    assert (found["overlay_active"], found["overlay_persistent_wanted"], found["overlay_fallen_back"]) == (1, 1, 0)
    assert (found["overlay_dropped_entries"], found["overlay_reset_staged"]) == (3, 1)
    assert found["overlay_upper_size_bytes"] > found["overlay_upper_used_bytes"] > 0
    # The exit status does not tell the health: the timer's unit must not fail each time because of a disk.
    found = values(measure(device, "overlayctl metrics", disk=False))
    assert (found["overlay_persistent"], found["overlay_fallen_back"], found["overlay_status"]) == (0, 1, 1)
    assert (found["overlay_reset_staged"], found["overlay_dropped_entries"]) == (0, 0)


@needs_mounts
def test_an_ordinary_user_is_not_told_what_is_not_known(device: Device) -> None:
    found = values(measure(device, "setpriv --reuid=65534 --clear-groups overlayctl metrics"))
    assert found["overlay_active"] == 1
    assert not {"overlay_reset_staged", "overlay_dropped_entries"} & set(found)


@needs_mounts
def test_it_is_what_node_exporter_reads(device: Device) -> None:
    device.boot("mkdir /srv; echo old >/srv/overlay.prom; umask 077; overlayctl metrics --textfile /srv/; ls -A /srv")
    assert [path.name for path in (device.root / "srv").iterdir()] == ["overlay.prom"]
    written = device.root / "srv/overlay.prom"
    assert stat.S_IMODE(written.stat().st_mode) == 0o644
    assert values(written.read_text())["overlay_active"] == 1


@needs_mounts
@pytest.mark.parametrize(
    ("setup", "words", "sentence"),
    [
        (
            "",
            "/gone",
            "--textfile /gone: there is no such directory; make it, or give the one that node_exporter reads",
        ),
        ("touch /file", "/file", "--textfile /file: not a directory"),
        (
            "mkdir /ro; mount -t tmpfs -o ro tmpfs /ro",
            "/ro",
            "--textfile /ro: Read-only file system; give a directory that can be written to",
        ),
        ("mkdir -p /srv/overlay.prom", "/srv", "--textfile /srv: overlay.prom is a directory; remove it"),
        (
            "mkdir /full; mount -t tmpfs -o size=4k tmpfs /full; echo x >/full/x",
            "/full",
            "--textfile /full: No space left on device; what is there is the older one",
        ),
    ],
)
def test_a_directory_that_does_not_do(setup: str, words: str, sentence: str, device: Device) -> None:
    script = f"{setup or ':'}; overlayctl metrics --textfile {words} 2>/tmp/said || echo $? >/tmp/status"
    left = measure(device, f"{script}; (ls -A {words} 2>/dev/null || :)")
    assert (device.root / "tmp/status").read_text() == "3\n"
    assert (device.root / "tmp/said").read_text() == f"overlayctl: {sentence}\n"
    assert ".overlay.prom" not in left


def test_nobody_sees_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last step there is only another file, with a name that node_exporter ignores."""
    (tmp_path / "overlay.prom").write_text("old")
    seen = []

    def look(old: str, _new: str) -> None:
        (scratch,) = [path for path in tmp_path.iterdir() if path.name != "overlay.prom"]
        assert not scratch.name.endswith(".prom")
        seen.append((os.path.basename(old) == scratch.name, scratch.read_text(), stat.S_IMODE(scratch.stat().st_mode)))
        assert (tmp_path / "overlay.prom").read_text() == "old"
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", look)
    with pytest.raises(KeyboardInterrupt):
        textfile.write(str(tmp_path), "new\n")
    assert seen == [(True, "new\n", 0o644)]
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.prom"]


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("keep")
    (tmp_path / "overlay.prom").symlink_to("other")
    textfile.write(str(tmp_path), "new\n")
    assert (tmp_path / "other").read_text() == "keep"
    assert not (tmp_path / "overlay.prom").is_symlink()


def test_no_directory_is_not_the_root_directory() -> None:
    """As `--textfile "$UNSET"` gives it."""
    with pytest.raises(Failure, match="--textfile: give a directory"):
        textfile.write("", "new\n")
    assert not os.path.exists("/overlay.prom")


@needs_mounts
def test_it_costs_little(device: Device) -> None:
    """Neither processes nor udev are looked at, though psutil and pyudev are installed here."""
    program = """import sys; sys.path.insert(0, '/usr/lib/overlay-generator')
from overlayctl.main import main; main(['metrics']); print(sorted({'psutil', 'pyudev'} & set(sys.modules)))"""
    assert device.boot(f'/usr/bin/python3 -I -c "{program}"').splitlines()[-1] == "[]"


UNITS = REPOSITORY / "lib/systemd/system"


def test_the_units_are_what_systemd_understands(image: Path, tmp_path: Path) -> None:
    names = ("overlay-metrics.service", "overlay-metrics.timer")
    paths = []
    for name in names:
        text = (image / "usr/lib/systemd/system" / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/overlayctl", "/bin/true"))
        paths.append(str(tmp_path / name))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [line for line in done.stderr.splitlines() if "overlay-metrics" in line]
    assert ours == []


def test_the_units_are_off_and_write_right_after_the_boot() -> None:
    timer = (UNITS / "overlay-metrics.timer").read_text()
    assert "\nOnBootSec=10s\n" in timer
    assert "\nAccuracySec=1s\n" in timer
    assert "\nWantedBy=timers.target\n" in timer
    assert "[Install]" not in (UNITS / "overlay-metrics.service").read_text()
    assert not [path for path in UNITS.glob("*.wants/*") if "metrics" in path.name]


@pytest.mark.parametrize("what", ["fifo", "link", "device", "directory", "huge", "linked"])
def test_what_is_no_log_on_the_disk_is_not_opened(what: str, tmp_path: Path) -> None:
    """Anybody may have written the disk: a FIFO would hold the timer's unit for ever."""
    if what == "device" and os.geteuid() != 0:
        pytest.skip("device nodes need root")
    path = tmp_path / "backing/dropped"
    path.parent.mkdir()
    (tmp_path / "outside").write_text("one\n")
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("../outside"),
        "device": lambda: os.mknod(path, 0o020600, os.makedev(1, 5)),
        "directory": path.mkdir,
        "huge": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
        "linked": lambda: os.link(tmp_path / "outside", path),
    }
    make[what]()
    library = REPOSITORY / "generator"
    program = f"import sys; sys.path.insert(0, {str(library)!r}); from overlayctl.metrics import verb; "
    program += f"print(verb._count_dropped({str(path.parent)!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None\n"


@pytest.mark.parametrize(("text", "count"), [
    ("", 0), ("# a\n/x\n", 1), ("# a\n/x\ndeleted /y\n# b\n/z", 3), ("/" + "x" * 200_000 + "\n/y\n", 2),
    ("#" + "x" * 200_000 + "\n/y\n", 1),
])  # fmt: skip
def test_entries_are_counted_and_not_titles(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "dropped").write_text(text)
    assert _count_dropped(str(tmp_path)) == count
    (tmp_path / "dropped.old").write_text("# a\n/x\n")
    assert _count_dropped(str(tmp_path)) == count + 1
    assert _count_dropped(str(tmp_path / "none")) is None

#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot the test image twice, without the flag and with it, and show what its console says.

With --picture FILE it is also drawn, as SVG, with what overlayctl says; that needs rich, and a larger image.

Exit status: 0 when both machines came to their end, 1 when one did not, 2 when nothing could be booted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path

from architectures import host_architecture
from cache import cache_root
from debian import build_base
from image import build_image, snapshot
from machine import Start, boot, choose_machine
from run import HERE, TOOLS
from steps import StepFailed, missing_tools
from values import Image
from watch import Ended

BOOTS = (
    ("A read-only Debian, nothing asked for", ""),
    ("The same image, with overlayfs.mounts=/var on the kernel command line", "overlayfs.mounts=/var"),
)
# ECMA-48: command strings (OSC, DCS, SOS, PM, APC) to their end, control sequences (CSI), other escapes, and single
# control characters but for line breaks and tabs.
_CONTROLS = re.compile(
    r"\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)
QUIET = "test.demo systemd.show_status=no loglevel=2"


def main() -> int:
    """Show both boots and return the exit status."""
    parser = argparse.ArgumentParser(description="Boot without overlayfs.mounts= and with it, and show both.")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write what is shown into this SVG")
    picture: Path | None = parser.parse_args().picture
    if os.geteuid() != 0:
        return _give_up("the image is built as root, and this is not root")
    if missing := missing_tools([*TOOLS, host_architecture().qemu]):
        return _give_up(f"not installed: {', '.join(missing)}")
    print("Building a small Debian image (a minute at the first time) ...", flush=True)
    try:
        root = cache_root()
        with snapshot(HERE.parents[1]) as product:
            base = build_base("trixie", root, None, "full" if picture else "small")
            image = build_image(base, product, Image(fstab=""), root)
    except StepFailed as error:
        return _give_up(str(error))
    machine = choose_machine(base)
    told = []
    for title, cmdline in BOOTS:
        print(f"\n=== {title} ({machine.accelerator}, half a minute where it is emulated) ===", flush=True)
        with tempfile.TemporaryDirectory() as name:
            results = Path(name)
            ended: list[Ended] = []

            def run(cmdline: str = cmdline, results: Path = results, ended: list[Ended] = ended) -> None:
                words = f"{cmdline} {QUIET}".strip()
                ended.append(boot(machine, Start(base.kernel, base.initramfs, image, words), results))

            thread = threading.Thread(target=run)
            thread.start()
            told.append(_follow(results / "console.log", thread))
            thread.join()
        if not ended or ended[0].timed_out:
            print("demo: the machine did not come to its end", file=sys.stderr)
            return 1
    if picture:
        from terminal import draw

        picture.write_text(draw([title for title, _ in BOOTS], told))
    return 0


def _follow(console: Path, thread: threading.Thread) -> str:
    """Print the console as it grows, line by line, until the machine has ended; all of it."""
    shown = 0
    while True:
        over = not thread.is_alive()
        text = console.read_text(errors="replace") if console.exists() else ""
        end = len(text) if over else text.rfind("\n") + 1
        print(make_plain(text[shown:end]), end="", flush=True)
        shown = max(shown, end)
        if over:
            return make_plain(text)
        time.sleep(0.2)


def make_plain(text: str) -> str:
    """`text` without control sequences: the guest's firmware clears the screen and places the cursor."""
    return _CONTROLS.sub("", text)


def _give_up(text: str) -> int:
    print(f"demo: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

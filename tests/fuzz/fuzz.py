# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Gives the parsers of parsers.py inputs by chance for some time, and says how many, and which of them failed.

    python3 tests/fuzz/fuzz.py [--minutes 10] [PARSER...]

With atheris, where that is installed (pip install atheris), which looks for inputs that reach new code; else with
hypothesis. What fails is written to --found and made shorter by hand: it then belongs into corpus/PARSER, where
test_parsers.py tries it each time. Status 1 if anything failed.
"""

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "generator"), str(HERE)]
LONGEST = 1 << 16  # bytes of an input
SECONDS = 10  # that one may take
MEGABYTES = 1024


def fuzz_with_atheris(name: str, seconds: int, found: Path) -> "tuple[int, list[str]]":
    """The number of inputs, and what failed; in a process of its own, as libFuzzer ends it."""
    with tempfile.TemporaryDirectory() as top:
        words = Path(top) / "words"
        own = Path(top) / "corpus"
        own.mkdir()
        corpus = [str(path) for path in [HERE / f"corpus/{name}"] if path.is_dir()]
        options = [
            f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}",
            f"-artifact_prefix={found}/{name}-", f"-dict={words}", "-print_final_stats=1", "-verbosity=1",
        ]  # fmt: skip
        command = [sys.executable, __file__, "--child", name, str(words), *options, str(own), *corpus]
        done = subprocess.run(command, capture_output=True, check=False)
    text = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
    counts = [int(number) for number in re.findall(r"(?:number_of_executed_units: |^#)(\d+)", text, re.MULTILINE)]
    failed = re.findall(r"Test unit written to (\S+)", text)
    if done.returncode and not failed:
        failed = [text[-2000:]]
    elif failed:
        print(text[-3000:], flush=True)
    return max(counts, default=0), failed


def _be_child(name: str, words: str, options: "list[str]") -> None:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["overlay_generator", "overlay_prepare", "overlayctl", "parsers"]):
        from parsers import PARSERS
    parser = PARSERS[name]
    with open(words, "w", encoding="ascii") as stream:
        for word in parser.words:
            if len(word) < 64:
                stream.write('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n')
    atheris.Setup([sys.argv[0], *options], parser.check)
    atheris.Fuzz()


def fuzz_with_hypothesis(name: str, seconds: int, found: Path) -> "tuple[int, list[str]]":
    """The number of inputs, and what failed."""
    from hypothesis import HealthCheck, Phase, given, settings
    from inputs import make_inputs
    from parsers import PARSERS

    parser = PARSERS[name]
    count = 0
    slowest = 0.0

    @settings(
        max_examples=5000, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.target, Phase.shrink),
    )  # fmt: skip
    @given(make_inputs(parser))
    def try_some(data: bytes) -> None:
        nonlocal count, slowest
        if time.monotonic() > end + 60:
            return
        count += 1
        last[:] = [data]
        begun = time.monotonic()
        parser.check(data)
        slowest = max(slowest, time.monotonic() - begun)
        assert time.monotonic() - begun < SECONDS, "takes too long"

    end = time.monotonic() + seconds
    last: list[bytes] = []
    failed: list[str] = []
    while time.monotonic() < end:
        try:
            try_some()
        except Exception as error:
            path = found / f"{name}-{len(failed)}"
            path.write_bytes(last[0])
            failed.append(str(path))
            print(f"{name}: {type(error).__name__}: {error}: {last[0]!r}"[:2000], flush=True)
            if len(failed) == 5:
                break
    return count, failed


def main() -> int:
    """0 if nothing failed."""
    if sys.argv[1:2] == ["--child"]:
        _be_child(sys.argv[2], sys.argv[3], sys.argv[4:])
        return 1
    from parsers import PARSERS

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="for all together (10)")
    parser.add_argument("--with", dest="tool", choices=("atheris", "hypothesis"), help="default: what is installed")
    parser.add_argument("--found", default="fuzz-found", help="the directory for inputs that failed (fuzz-found)")
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}")
    asked = parser.parse_args()
    tool = asked.tool or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    run = fuzz_with_atheris if tool == "atheris" else fuzz_with_hypothesis
    chosen = asked.parsers or list(PARSERS)
    seconds = max(int(asked.minutes * 60 / len(chosen)), 1)
    found = Path(asked.found).absolute()
    found.mkdir(parents=True, exist_ok=True)
    total, failed = 0, 0
    for name in chosen:
        count, bad = run(name, seconds, found)
        total, failed = total + count, failed + len(bad)
        print(f"{name}: {count} inputs, {len(bad)} failed {' '.join(bad)}".rstrip(), flush=True)
    print(f"{total} inputs with {tool}, {failed} failed")
    if not any(found.iterdir()):
        os.rmdir(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

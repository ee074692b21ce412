# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frame: help, wrong usage, errors, pager, colours, Ctrl-C and closed pipes. The installed command is what runs."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from overlayctl import main
from overlayctl.errors import Failure
from overlayctl.output import choose_colour, printable
from product import SYSTEM_PYTHON

ENVIRON = {"PATH": "/usr/bin:/bin", "TERM": "xterm"}


@pytest.fixture
def library(prefix: Path) -> Path:
    return prefix / "lib/overlay-generator"


def run(library: Path, *words: str, environ: "dict[str, str] | None" = None) -> "subprocess.CompletedProcess[str]":
    command = [SYSTEM_PYTHON, "-B", "-m", "overlayctl", *words]
    environ = {**ENVIRON, "PYTHONPATH": str(library), **(environ or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=60)


def on_terminal(library: Path, *words: str, environ: "dict[str, str] | None" = None) -> str:
    """What a terminal shows of a run."""
    parent, child = pty.openpty()
    command = [SYSTEM_PYTHON, "-B", "-m", "overlayctl", *words]
    environ = {**ENVIRON, "PYTHONPATH": str(library), **(environ or {})}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environ)
    os.close(child)
    shown = b""
    while True:
        try:
            data = os.read(parent, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    process.wait(timeout=60)
    os.close(parent)
    return shown.decode().replace("\r\n", "\n")


def test_help_lists_the_verbs(library: Path) -> None:
    done = run(library, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {verb} " in done.stdout for verb in main.VERBS)
    assert "\nexamples:\n  overlayctl status\n" in done.stdout


@pytest.mark.parametrize("verb", main.VERBS)
def test_help_of_a_verb_shows_examples(verb: str, library: Path) -> None:
    done = run(library, verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\nexamples:\n  overlayctl {verb}" in done.stdout
    assert "\nexit status:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_version(library: Path) -> None:
    from overlay_generator import __version__

    assert run(library, "--version").stdout == f"overlayctl {__version__}\n"


WRONG = [
    ([], "give a verb; see overlayctl --help"),
    (["stauts"], '"stauts" is not a verb; did you mean status?; see overlayctl --help'),
    (["zzz"], f'"zzz" is not a verb; there are {", ".join(main.VERBS)}; see overlayctl --help'),
    (["--color", "red", "status"], None),
    (["status", "--nonsense"], "unrecognized arguments: --nonsense; see overlayctl status --help"),
    (["restore"], "the following arguments are required: PATH; see overlayctl restore --help"),
    (["reset", "--dry-run", "--cancel"], None),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_wrong_usage_is_one_line_and_3(words: "list[str]", sentence: "str | None", library: Path) -> None:
    done = run(library, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert done.stderr.startswith("overlayctl: ")
    assert sentence is None or done.stderr == f"overlayctl: {sentence}\n"


def test_only_the_verb_asked_for_is_loaded(library: Path) -> None:
    program = "import sys; from overlayctl.main import main; main(['status', '--help']); print(sorted(sys.modules))"
    environ = {**ENVIRON, "PYTHONPATH": str(library)}
    done = subprocess.run([SYSTEM_PYTHON, "-c", program], capture_output=True, text=True, env=environ, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "'overlayctl.status.verb'" in loaded
    for name in (
        "overlayctl.check.verb",
        "overlayctl.diff.verb",
        "overlayctl.render.verb",
        "psutil",
        "pyudev",
        "json",
        "subprocess",
    ):
        assert f"'{name}'" not in loaded, name


def make_verb(monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let the verb status be a module with the given body of run(options)."""
    text = "VERB = HELP = DESCRIPTION = EXAMPLES = ''\ndef add_arguments(parser): pass\ndef run(options):\n"
    module = ModuleType("overlayctl.status.verb")
    exec(text + "".join(f"    {line}\n" for line in body.splitlines()), module.__dict__)
    monkeypatch.setitem(sys.modules, "overlayctl.status.verb", module)


FAILURES = [
    ("from overlayctl.errors import Failure\nraise Failure('no disk')", "overlayctl: no disk\n"),
    ("open('/proc/none')", "overlayctl: /proc/none: No such file or directory\n"),
    ("raise Exception", "overlayctl: a bug of overlayctl: Exception; please report it "),
    ("return 1 / 0", "overlayctl: a bug of overlayctl: ZeroDivisionError: division by zero; please report it "),
    ("raise MemoryError", "overlayctl: there is not enough memory for this\n"),
    ("raise RecursionError('deep')", "overlayctl: a bug of overlayctl: RecursionError: deep; please report it "),
    ("raise ValueError('\\x1b[31m')", "overlayctl: a bug of overlayctl: ValueError: \\x1b[31m; please report it "),
]


@pytest.mark.parametrize(("body", "sentence"), FAILURES)
def test_no_traceback_reaches_a_person(
    body: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_verb(monkeypatch, f"options.output.write('before\\n')\n{body}")
    assert main.main(["status"]) == 3
    said = capsys.readouterr()
    assert said.out == "before\n"
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1


def test_who_looks_for_the_bug_gets_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_verb(monkeypatch, "return 1 / 0")
    monkeypatch.setenv("OVERLAYCTL_DEBUG", "1")
    assert main.main(["status"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_a_verb_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main.VERBS, "absent", "")
    with pytest.raises(Failure, match="absent is not part of this installation"):
        main.load("absent")


def test_the_status_of_a_verb_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (0, 1, 2):
        make_verb(monkeypatch, f"return {status}")
        assert main.main(["status"]) == status


def slow_verb(top: Path, body: str) -> "list[str]":
    """The command line of an overlayctl whose verb status is `body`."""
    program = top / "slow.py"
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    program.write_text(
        "import sys, time\nfrom types import ModuleType\nfrom overlayctl import main\n"
        "class Verb(ModuleType):\n"
        "    HELP = DESCRIPTION = EXAMPLES = ''\n"
        "    def add_arguments(self, parser): pass\n"
        f"    def run(self, options):\n{lines}        return 0\n"
        "sys.modules['overlayctl.status.verb'] = Verb('overlayctl.status.verb')\n"
        "main.run()\n"
    )
    return [SYSTEM_PYTHON, str(program), "status"]


def test_a_closed_output_is_told(library: Path) -> None:
    script = 'exec >&-; exec "$@"'
    environ = {**ENVIRON, "PYTHONPATH": str(library)}
    words = ["sh", "-c", script, "sh", SYSTEM_PYTHON, "-m", "overlayctl", "status"]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=environ)
    assert (done.returncode, done.stderr) == (3, "overlayctl: standard output is closed\n")
    words[2] = 'exec >&- 2>&-; exec "$@"'
    assert subprocess.run(words, check=False, timeout=60, env=environ).returncode == 3


def test_a_closed_pipe_is_quiet(library: Path, tmp_path: Path) -> None:
    command = slow_verb(tmp_path, "while True: options.output.write('line\\n')")
    environ = {**ENVIRON, "PYTHONPATH": str(library)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""


def test_ctrl_c_is_quiet(library: Path, tmp_path: Path) -> None:
    command = slow_verb(tmp_path, "options.output.write('x\\n'); sys.stdout.flush(); time.sleep(60)")
    environ = {**ENVIRON, "PYTHONPATH": str(library)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("again", [False, True])
def test_a_signal_leaves_nothing_half_written(
    number: signal.Signals, again: bool, library: Path, tmp_path: Path
) -> None:
    body = (
        "from overlayctl.outfile import whole\n"
        "with whole('out') as out:\n"
        "    out.write(b'x' * 10**6)\n"
        "    options.output.write('x\\n'); sys.stdout.flush()\n"
        "    time.sleep(60)\n"
    )
    command, environ = slow_verb(tmp_path, body), {**ENVIRON, "PYTHONPATH": str(library)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environ)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    before = set(os.listdir(tmp_path))
    assert any(name.startswith(".overlayctl-") for name in before)
    process.send_signal(number)
    if again and number != signal.SIGINT:
        process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert process.stderr.read() == b""
    assert not [name for name in os.listdir(tmp_path) if name.startswith((".overlayctl-", "out"))]


COLOURS = [
    (("auto", True), {"TERM": "xterm"}, True),
    (("auto", True), {"TERM": "dumb"}, False),
    (("auto", True), {}, False),
    (("auto", True), {"TERM": "xterm", "NO_COLOR": "1"}, False),
    (("auto", True), {"TERM": "xterm", "NO_COLOR": ""}, True),
    (("auto", False), {"TERM": "xterm"}, False),
    (("always", False), {"NO_COLOR": "1"}, True),
    (("never", True), {"TERM": "xterm"}, False),
]


@pytest.mark.parametrize(("arguments", "environ", "expected"), COLOURS)
def test_when_there_are_colours(
    arguments: "tuple[str, bool]", environ: "dict[str, str]", expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environ)
    assert choose_colour(*arguments) is expected


def test_a_terminal_gets_colours_and_a_pager(library: Path, tmp_path: Path) -> None:
    words = ("check", "--root", str(tmp_path), "--cmdline", "overlayfs.mounts=/srv")
    pager = {"OVERLAYCTL_PAGER": "sed 's/^/paged: /'", "PAGER": "false"}
    shown = on_terminal(library, *words, environ=pager)
    assert "\033[" in shown
    assert all(line.startswith("paged: ") for line in shown.splitlines())
    assert "paged: " not in on_terminal(library, "--no-pager", *words, environ=pager)
    assert "paged: " in on_terminal(library, *words, environ={"PAGER": "sed 's/^/paged: /'"})
    assert "\033[" not in on_terminal(library, *words, environ={"PAGER": "cat", "NO_COLOR": "1"})
    piped = run(library, *words, environ=pager).stdout
    assert "\033[" not in piped
    assert "paged: " not in piped
    assert "not overlaid" in piped


def test_a_pager_that_is_left_early_is_no_error(library: Path, tmp_path: Path) -> None:
    words = ("check", "--root", str(tmp_path), "--cmdline", "overlayfs.mounts=/srv")
    start = time.monotonic()
    shown = on_terminal(library, *words, environ={"PAGER": "head -n 1"})
    assert shown.count("\n") == 1
    assert time.monotonic() - start < 30


def test_names_can_not_steer_a_terminal() -> None:
    assert printable("a\x1b[31m\n\x7f") == "a\\x1b[31m\\x0a\\x7f"
    assert printable("é\u202e") == "é\\xe2\\x80\\xae"
    assert printable("\udcff\x9b\ud800") == "\\xff\\xc2\\x9b\\xed\\xa0\\x80"

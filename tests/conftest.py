# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What pytest gives to all tests: the installed product, and a way to run it as PID 1 or a person does."""

import gc
import os
import signal
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY, Run


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="write what comes out into the cases' expected files")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell has put us into the background; what tests start and interrupt would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same by nohup(1)
    if config.getoption("--regold") and os.environ.get("CI"):
        raise pytest.UsageError("--regold makes every case pass, so not in CI")


@pytest.fixture(autouse=True, scope="module")
def _no_garbage() -> None:
    """What earlier tests have left in circles is closed now, and not while a test counts its open files."""
    gc.collect()


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product installed by `make install`, with a PREFIX of its own so that it runs where it lies."""
    where = tmp_path_factory.mktemp("installed") / "usr"
    subprocess.run(["make", "-s", "-C", REPOSITORY, "install", f"PREFIX={where}"], check=True)
    return where


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make install` puts into an image: a tree that has nothing else."""
    where = tmp_path_factory.mktemp("image")
    subprocess.run(["make", "-s", "-C", REPOSITORY, "install", f"DESTDIR={where}"], check=True)
    return where


@pytest.fixture(scope="session")
def executable(prefix: Path) -> Path:
    return prefix / "lib/systemd/system-generators/overlay-generator"


@pytest.fixture
def run(executable: Path) -> Run:
    """run(*arguments, environ={}, **options): the installed executable with a clean environment, output as text."""

    def run_it(
        *arguments: "str | Path", environ: "dict[str, str] | None" = None, **options: object
    ) -> "subprocess.CompletedProcess[str]":
        command = [os.fspath(executable), *map(str, arguments)]
        options = {"capture_output": True, "timeout": 60, **options}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, env={**ENVIRON, **(environ or {})}, text=True, errors="surrogateescape", check=False, **options
        )

    return run_it

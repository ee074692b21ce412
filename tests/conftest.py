"""What all tests share: the installed product, and a way to run it as PID 1 or a person does."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"

# The whole environment of a run: nothing of the developer's shell gets in.
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def skip_without_mount_namespace() -> None:
    """Skip the test, aloud, where no process may have mounts of its own."""
    try:
        allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("no mount namespace of one's own is allowed here")


def wait_for(path: Path, gone: bool = False) -> None:
    """Wait until `path` is there, or gone: what prepare leaves to a process that nobody waits for."""
    deadline = time.monotonic() + 30
    while path.exists() is gone:
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="write what comes out into the cases' expected files")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--regold") and os.environ.get("CI"):
        raise pytest.UsageError("--regold makes every case pass, so not in CI")


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

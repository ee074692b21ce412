# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples of packaging/examples do what they say."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from product import REPOSITORY

MIGRATE = REPOSITORY / "packaging/examples/app-migrate"
# A stand-in for sqlite3(1), which not every machine has: Python's own library does the same.
SQLITE = f"""#!{sys.executable}
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    for row in database.execute(statement):
        print(*row, sep="|")
"""


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sqlite3").write_text(SQLITE)
    (tmp_path / "bin/sqlite3").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as opened:
        opened.execute("CREATE TABLE log (text TEXT)")
        opened.execute("INSERT INTO log VALUES ('kept')")
        opened.execute("PRAGMA user_version = 1")
    return path


def migrate(database: Path, step: str) -> "subprocess.CompletedProcess[str]":
    told = database.with_name("var.changed")
    told.write_text(step)
    return subprocess.run([MIGRATE, told, database], capture_output=True, text=True, check=False)


def test_a_migration_runs_once_at_an_update(database: Path) -> None:
    for _ in range(2):
        done = migrate(database, 'FROM_VERSION="1"\nTO_VERSION="2"\nSTEP_BACK="no"\n')
        assert (done.returncode, done.stderr) == (0, "")
    with sqlite3.connect(database) as opened:
        assert opened.execute("SELECT text, level FROM log").fetchall() == [("kept", None)]
        assert opened.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_step_back_to_data_of_a_newer_version_is_refused(database: Path) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("PRAGMA user_version = 3")
    done = migrate(database, 'FROM_VERSION="3"\nTO_VERSION="2"\nSTEP_BACK="yes"\n')
    assert done.returncode == 1
    assert done.stderr.startswith(f"<3>{database} has version 3, and this image (2, a step back: yes) knows 2")


def test_the_first_boot_has_nothing_to_migrate(database: Path) -> None:
    database.unlink()
    assert migrate(database, 'STEP_BACK="unknown"\n').returncode == 0
    assert not database.exists()

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a forge reads: the workflows, and the forms for reports and changes. It reports errors where nobody looks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from product import REPOSITORY

FORGE = REPOSITORY / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
FORMS = sorted((FORGE / "ISSUE_TEMPLATE").glob("*.yml"))

if not FORGE.is_dir():  # an archive of the sources
    pytest.skip("no checkout", allow_module_level=True)


def check(kind: str, *files: Path) -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    if not tool.exists():
        assert not os.environ.get("CI"), "check-jsonschema is not installed"
        pytest.skip("check-jsonschema is not installed")
    done = subprocess.run(
        [tool, "--builtin-schema", kind, *files], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_forms_are_forms() -> None:
    check("vendor.github-issue-forms", *(path for path in FORMS if path.name != "config.yml"))
    check("vendor.github-issue-config", FORGE / "ISSUE_TEMPLATE/config.yml")


def test_the_workflows_are_workflows() -> None:
    check("vendor.github-workflows", *WORKFLOWS)
    check("custom.github-workflows-require-timeout", *WORKFLOWS)


def test_actionlint() -> None:
    """No package that could be installed everywhere has it; the CI workflow runs it as well."""
    if not shutil.which("actionlint"):
        pytest.skip("actionlint is not installed")
    done = subprocess.run(["actionlint", *WORKFLOWS], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


def test_a_report_asks_for_what_becomes_a_test() -> None:
    text = (FORGE / "ISSUE_TEMPLATE/bug.yml").read_text()
    assert "overlayctl save report.tar.gz" in text
    assert "overlayctl status --json" in text
    assert "SECURITY.md" in text


def test_a_change_is_asked_in_five_lines() -> None:
    assert len((FORGE / "pull_request_template.md").read_text().splitlines()) == 5


def test_every_command_of_the_workflows_is_there() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    assert "run: .ci/run\n" in text
    for target in re.findall(r"make (?!\n)([a-z-]+)", text):
        done = subprocess.run(["make", "-C", REPOSITORY, "-n", target], capture_output=True, text=True, check=False)
        assert "No rule to make target" not in done.stderr, target
    needs = (REPOSITORY / "tests/needs").read_text()
    for word in {*re.findall(r"needs: (\w+)", text), *re.findall(r"tests/needs (\w+)", text)}:
        assert f'"$1" != {word} ]' in needs or word == "test", word


def test_the_weekly_run_has_every_suite() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    (suites,) = re.findall(r"^# SUITES='(.*?)'", makefile, re.MULTILINE)
    (weekly,) = re.findall(r"suite: \[(.*)\]", (FORGE / "workflows/weekly.yml").read_text())
    assert weekly.split(", ") == suites.split()

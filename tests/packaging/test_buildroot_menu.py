# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The br2-external tree as it is read: its menu by a Kconfig parser, and the rules of Buildroot's own checks.

Buildroot itself is not needed: Config.stub.in stands for its menus. test_real_buildroot.py has its own.
"""

import hashlib
import os
import re
from pathlib import Path

import pytest

from product import REPOSITORY

HERE = Path(__file__).resolve().parent
EXTERNAL = REPOSITORY / "packaging/buildroot"
PACKAGE = EXTERNAL / "package/overlay-generator"

# The menu

BASE = {"BR2_INIT_SYSTEMD": "y", "BR2_INIT_SYSTEMD_VAR_NONE": "y"}
ON = "BR2_PACKAGE_OVERLAY_GENERATOR"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**BASE, ON: "y"}, {ON: "y", f"{ON}_STATIC": "y", "BR2_INIT_SYSTEMD_POPULATE_TMPFILES": "y"}),
        ({**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y"}, {f"{ON}_AT_BOOT": "y", f"{ON}_STATIC": "n"}),
        ({**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y", f"{ON}_STATIC": "y"}, {f"{ON}_AT_BOOT": "n"}),
        ({**BASE, ON: "y", f"{ON}_AT_BOOT": "y"}, {f"{ON}_AT_BOOT": "n", f"{ON}_STATIC": "y"}),
        ({**BASE}, {ON: "n", f"{ON}_AT_BOOT": "n", f"{ON}_STATIC": "n"}),
        ({"BR2_INIT_SYSTEMD_VAR_NONE": "y", ON: "y"}, {ON: "n"}),
        ({"BR2_INIT_SYSTEMD": "y", "BR2_TARGET_GENERIC_REMOUNT_ROOTFS_RW": "y", ON: "y"}, {ON: "n"}),
        ({**BASE, "BR2_INIT_SYSTEMD_VAR_OVERLAYFS": "y", ON: "y"}, {ON: "n"}),
        ({**BASE, "BR2_INIT_SYSTEMD_VAR_FACTORY": "y", ON: "y"}, {ON: "n"}),
        (
            {**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y", f"{ON}_OVERLAYCTL": "y"},
            {f"BR2_PACKAGE_{name}": "y" for name in ("PYTHON_PSUTIL", "PYTHON_PYUDEV", "PYTHON3_ZLIB")},
        ),
    ],
)  # fmt: skip
def test_the_menu(
    given: "dict[str, str]", expected: "dict[str, str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    monkeypatch.setenv("BR2_EXTERNAL_OVERLAY_GENERATOR_PATH", str(EXTERNAL))
    monkeypatch.setenv("CONFIG_", "")
    kconfig = kconfiglib.Kconfig(str(HERE / "Config.stub.in"), warn_to_stderr=False)
    lines = "".join(f"{key}={value}\n" for key, value in given.items())
    (tmp_path / "config").write_text(lines)
    kconfig.load_config(str(tmp_path / "config"))
    assert {key: kconfig.syms[key].str_value for key in expected} == expected
    assert not [text for text in kconfig.warnings if "undefined symbol" in text]


def test_the_defconfig_chooses_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    monkeypatch.setenv("BR2_EXTERNAL_OVERLAY_GENERATOR_PATH", str(EXTERNAL))
    monkeypatch.setenv("CONFIG_", "")
    kconfig = kconfiglib.Kconfig(str(HERE / "Config.stub.in"), warn_to_stderr=False)
    kconfig.load_config(str(EXTERNAL / "configs/overlay_generator_qemu_x86_64_defconfig"))
    for key in (ON, f"{ON}_AT_BOOT", "BR2_INIT_SYSTEMD_VAR_NONE", "BR2_INIT_SYSTEMD_POPULATE_TMPFILES"):
        assert kconfig.syms[key].str_value == "y", key


# Rules of Buildroot's check-package that a change is likely to break. All of them, with a checkout of Buildroot:
# BUILDROOT/utils/check-package -b $(find packaging/buildroot -type f)


def test_rules_of_the_make_file() -> None:
    lines = (PACKAGE / "overlay-generator.mk").read_text().split("\n")
    assert lines[:6] == ["#" * 80, "#", "# overlay-generator", "#", "#" * 80, ""]
    inside = continued = False
    for line in lines:
        if line.startswith("define "):
            inside = True
        elif line == "endef":
            inside = False
        elif line and not line.startswith(("#", "if", "else", "endif")):
            assert line.startswith("\t") == (inside or continued), line
            assert not re.search(r"(  |\t)\\$", line), line
            assert not re.search(r"[^$]\$\{\w+\}", line), line
            assert "$(HOST_DIR)/usr" not in line, line
        assert not re.match(r"\s*(else\s+)?ifn?def\s", line), line
        name = re.match(r"(?:define )?([A-Z0-9]+_[A-Z0-9_]+)", line)
        assert not name or name[1].startswith("OVERLAY_GENERATOR_"), line
        continued = line.endswith("\\")


@pytest.mark.parametrize("path", [PACKAGE / "Config.in", EXTERNAL / "Config.in"], ids=["package", "tree"])
def test_rules_of_the_menu(path: Path) -> None:
    order = ["bool", "prompt", "string", "default", "depends", "select", "help"]
    last = -1
    helping = continued = False
    text = path.read_text()
    assert not re.search(r"\tdefault n\n|\thelp\n\t  \s", text)
    for line in text.splitlines():
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        if helping and (not word or line.startswith("\t  ")):
            # Two blanks and 62 characters after the tab.
            assert not word or re.fullmatch(r"\t  .{1,62}", line), line
            continue
        helping = False
        if word in order:
            assert line.startswith(f"\t{word}"), line
            place = max(2, order.index(word))
            assert place >= last, f"{line}: type, default, depends on, select, help"
            last, helping = place, word == "help"
        elif word and not word.startswith("#") and not continued:
            assert not line.startswith("\t"), line
            last = -1
        continued = line.endswith("\\")


@pytest.mark.parametrize(
    "path", sorted(path for path in EXTERNAL.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_rules_of_every_file(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text or path.suffix == ".py"
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert not os.access(path, os.X_OK)
    text.encode("ascii")


def test_rules_of_the_runtime_tests() -> None:
    lines = (EXTERNAL / "support/testing/tests/init/test_overlay_generator.py").read_text().splitlines()
    assert lines[0].startswith("#")
    # One word may be longer: a value can't be broken.
    assert not [line for line in lines if len(line) > 79 and len(line.split()) > 1]


def test_the_hash_file_has_the_license_as_it_is() -> None:
    lines = (PACKAGE / "overlay-generator.hash").read_text().splitlines()
    fields = [line.split("  ") for line in lines if not line.startswith("#")]
    assert fields == [["sha256", hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest(), "LICENSE"]]


def test_every_defconfig_has_its_downloads_checked() -> None:
    for path in (EXTERNAL / "configs").iterdir():
        assert path.name.endswith("_defconfig")
        assert "\nBR2_DOWNLOAD_FORCE_CHECK_HASHES=y\n" in path.read_text()


def test_the_tree_has_a_name_and_says_what_it_is() -> None:
    fields = dict(line.split(": ", 1) for line in (EXTERNAL / "external.desc").read_text().splitlines())
    assert fields.keys() == {"name", "desc"}
    assert fields["name"] == "OVERLAY_GENERATOR"

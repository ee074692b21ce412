# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the manual pages show is what the generator does, and they and all others name pages that there are."""

import ast
import re
from pathlib import Path

import pytest

from fakeroot import CASES
from overlay_generator import config, model, render
from product import REPOSITORY

PAGES = sorted((REPOSITORY / "packaging/man").glob("*.[1-9]"))
MANUAL = REPOSITORY / "packaging/man/overlay-generator.8"
CONF = REPOSITORY / "packaging/man/overlay-generator.conf.5"
EXAMPLES = ("9z-manual", "9z-manual-memory", "9z-manual-two-images")
# Pages of others that are named somewhere, in their sections.
OTHERS = {
    "1": {"gzip", "less", "mv", "pax", "systemctl", "systemd"},
    "5": {"crypttab", "fstab", "os-release", "systemd.mount", "tmpfs"},
    "7": {"kernel-command-line", "systemd.generator", "systemd.syntax"},
    "8": {"matchpathcon", "mount", "restorecon", "setfiles", "systemd-fsck@.service", "systemd-fstab-generator",
          "systemd-gpt-auto-generator"},
}  # fmt: skip


def _find_examples(page: Path) -> "list[str]":
    """The literal blocks of a page, as a reader sees them."""
    blocks = re.findall(r"^\.nf\n(.*?)^\.fi\n", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace("\\-", "-") for block in blocks]


def _plain(text: str) -> str:
    """The words of a page without the marks of their fonts."""
    text = re.sub(r"^\.(?:[BIR]{2}|[BI]|IP|TP|PP|br) ?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\f[BIRP]|\\c$|\"", "", text, flags=re.MULTILINE)
    return " ".join(text.replace("\\-", "-").replace("\\&", "").split())


def _find_keys() -> "set[str]":
    """What config.py compares a key with: the keys that there are."""
    found = set()
    for node in ast.walk(ast.parse(Path(config.__file__).read_text())):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name) and node.left.id == "key":
            found |= {text.value for text in ast.walk(node.comparators[0]) if isinstance(text, ast.Constant)}
    return {key for key in found if isinstance(key, str)}


def _entries() -> "dict[str, str]":
    """Each key of overlay-generator.conf(5) with the text of its entry."""
    keys = CONF.read_text().partition("\n.SH KEYS\n")[2].partition("\n.SH ")[0]
    entries = [_plain(entry) for entry in re.split(r"^\.TP\n", keys, flags=re.MULTILINE)[1:]]
    return {entry.partition("=")[0]: entry for entry in entries}


def test_every_key_has_its_entry_and_no_other() -> None:
    assert len(_find_keys()) > 7
    assert set(_entries()) == _find_keys()


def test_every_entry_ends_with_the_default() -> None:
    entries = _entries()
    defaults = {key: entry.partition(" Default: ")[2] for key, entry in entries.items()}
    assert [key for key, text in defaults.items() if not text] == []
    settings = model.Settings()
    assert defaults["Policy"] == f"{settings.policy} ."
    assert defaults["Notify"] == f"{settings.notify} ."
    assert defaults["Require"].startswith(f"{' '.join(settings.require)} .")
    memory, _, disk = defaults["Options"].partition("in memory")
    assert memory.split() == render.OPTIONS_VOLATILE.split(",")
    assert render.OPTIONS_PERSISTENT.replace(",", " ") in disk
    for key in ("Flags", "Passthrough"):
        assert (getattr(settings, key.lower()), defaults[key]) == ((), "none.")
    assert (settings.size, settings.inodes) == ("", "")


def test_the_examples_of_the_configuration_are_cases() -> None:
    examples = [block for block in _find_examples(CONF) if block.startswith("[")]
    assert examples == [(CASES / name / "root/etc/overlay-generator.conf").read_text() for name in EXAMPLES]
    assert {key for block in examples for key in re.findall(r"^(\w+)=", block, re.MULTILINE)} == _find_keys()


def test_the_example_of_an_fstab_line_is_a_case() -> None:
    lines = [" ".join(block.split()) for block in _find_examples(MANUAL) if block.startswith("LABEL=")]
    assert len(lines) == 1
    assert lines[0] in " ".join((CASES / "9z-manual/root/etc/fstab").read_text().split())


def _texts() -> "list[Path]":
    """All that people read: pages, and what the programs print."""
    folders = ("docs", "generator", "lib", "packaging")
    found = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    return [
        path
        for path in [*REPOSITORY.glob("*.md"), *found]
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".svg", ".json", ".pyc")
    ]


def test_every_page_that_is_named_is_there() -> None:
    ours = {path.name for path in PAGES}
    for path in _texts():
        text = path.read_text(errors="replace").replace("\\-", "-")
        for name, section in re.findall(r"(?<![\w./%$-])([a-z][\w.@-]*?)\"? ?\(([1-8])\)", text):
            if name.startswith("overlay") and name != "overlay":
                assert f"{name}.{section}" in ours, f"{path}: {name}({section})"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_references_of_a_page(page: Path) -> None:
    """Each is of a page in its section, none stands twice in SEE ALSO, and none of ours is missing there."""
    text = page.read_text().replace("\\-", "-")
    named = re.findall(r"^\.[BR]{2} \"?([\w.@-]+)\"? \((\d)\)", text, re.MULTILINE)
    known = {*((name, section) for section, names in OTHERS.items() for name in names)}
    ours = {(path.stem, path.suffix[1:]) for path in PAGES}
    assert set(named) - known - ours == set()
    see = re.findall(r"^\.BR ([\w.@-]+) \((\d)\)", text.partition("\n.SH SEE ALSO\n")[2], re.MULTILINE)
    assert len(see) == len(set(see))
    assert ours - {(page.stem, page.suffix[1:])} <= set(see)

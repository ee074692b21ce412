# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""make site: every page is there, no link is broken, and nothing of it is loaded from elsewhere."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sources import GENERATED, ran, run

from product import REPOSITORY

# Attributes whose address a browser loads by itself; href only of what is not a link for people.
LOADED = {"src", "srcset", "poster", "data"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in ("material", "yaml") if not importlib.util.find_spec(name)]
    missing += [] if shutil.which("mandoc") else ["mandoc"]
    if missing:
        assert not os.environ.get("CI"), f"not installed: {missing}"
        pytest.skip(f"not installed: {missing}")
    tree = tmp_path_factory.mktemp("site")
    for name in ("docs", "packaging"):
        shutil.copytree(REPOSITORY / name, tree / name)
    files = [*REPOSITORY.glob("*.md"), *(REPOSITORY / name for name in ("LICENSE", "Makefile", "NEWS"))]
    for file in [*files, *(REPOSITORY / path for path in ("tests/boot/README.md",))]:
        (tree / file.relative_to(REPOSITORY)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tree / file.relative_to(REPOSITORY))
    shutil.copytree(REPOSITORY / "generator", tree / "generator", ignore=GENERATED)
    return tree


@pytest.fixture(scope="module")
def site(sources: Path) -> Path:
    ran(sys.executable, "packaging/site/build.py", "build/site", cwd=sources)
    return sources / "build/site/html"


class Loads(HTMLParser):
    """Everything that a browser fetches for a page, and the names of its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.policies: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        """Notes what the element fetches."""
        values = {name: value or "" for name, value in attrs}
        self.found += [value for name, value in values.items() if name in LOADED]
        if tag in ("link", "use", "image"):
            self.found += [value for name, value in values.items() if name.endswith("href")]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(values["content"])
        self.names |= {values.get("class", ""), values.get("data-md-component", "")}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text()
        loads = Loads(text)
        foreign = [url for url in loads.found if re.match(r"[a-z]+:|//", url) and not url.startswith("data:")]
        assert foreign == [], page
        # And the browser is told so, as the scripts of the theme know addresses: of a forge, and of a drawing library.
        assert loads.policies == ["default-src 'self' file: data: 'unsafe-inline'"], page
        assert not {"mermaid", "source"} & loads.names, page
    for style in site.rglob("*.css"):
        loaded = re.findall(r"""(?:url[(]|@import )\s*["']?((?:https?:)?//[^)"']+)""", style.read_text())
        assert loaded == [], style


def test_every_page_is_there(site: Path) -> None:
    wanted = [*(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "packaging/man").iterdir()]
    there = {path.name for path in site.rglob("*.html")}
    for page in wanted:
        name = page.with_suffix(".html").name if page.suffix == ".md" else f"{page.name}.html"
        assert {name, "index.html"} & there if page.name == "README.md" else name in there


def test_a_manual_page_is_whole(site: Path) -> None:
    text = (site / "man/overlay-generator.conf.5.html").read_text()
    text = " ".join(text.split())
    for word in ("Passthrough=", "SEE ALSO", 'href="overlay-generator.8.html"', "Require=writable current-image"):
        assert word in text, word


def test_the_search_finds_a_key_of_the_configuration(site: Path) -> None:
    assert "current-image" in (site / "search/search_index.json").read_text()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("docs/containers.md", "[gone](gone.md)"),
        ("docs/containers.md", "[gone](how-it-works.md#gone)"),
        ("README.md", "[gone](packaging/gone)"),
    ],
)
def test_a_broken_link_fails(page: str, text: str, sources: Path, site: Path) -> None:
    assert site.exists()
    path = sources / page
    before = path.read_text()
    path.write_text(f"{before}\n{text}\n")
    try:
        done = run(sys.executable, "packaging/site/build.py", "build/broken", cwd=sources)
    finally:
        path.write_text(before)
    assert done.returncode != 0
    assert "gone" in done.stderr


def test_the_makefile_calls_it() -> None:
    command = ["make", "-C", str(REPOSITORY), "-n", "site"]
    assert "packaging/site/build.py build/site" in subprocess.run(command, capture_output=True, text=True).stdout

#!/usr/bin/python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the documentation as a site of files: build.py DIRECTORY, which then has html/index.html. For `make site`.

The Markdown is that of the tree, which can be read as it is. Here its links to manual pages lead to pages of the site,
those to other files to copies of them, and drawings become a part of their page, so that they have its colours. A link
that leads nowhere fails, as does any other warning of mkdocs. Needs mkdocs-material and mandoc.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
MANUALS = sorted((TREE / "packaging/man").glob("*.[1-9]"))
TEXTS = [*(TREE / "docs").glob("*.md"), *(TREE / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
         TREE / "tests/boot/README.md"]  # fmt: skip
# Where a page of the tree is in the site, if not in the same place.
PLACES = {TREE / "README.md": "index.md", TREE / "NEWS": "NEWS.md"} | {page: f"man/{page.name}.md" for page in MANUALS}


def build(where: Path) -> None:
    """Write pages/ and html/ below `where`. Raises OSError, CalledProcessError, yaml.YAMLError, SystemExit."""
    pages = where / "pages"
    shutil.rmtree(where, ignore_errors=True)
    pages.mkdir(parents=True)
    for source in TEXTS:
        _write(pages / _place(source), _adapt(source, pages))
    _write(pages / "NEWS.md", _spell_news((TREE / "NEWS").read_text()))
    for page in MANUALS:
        _write(pages / PLACES[page], _spell_manual(page))
    shutil.copy(HERE / "site.css", pages)
    shutil.copytree(HERE / "theme", where / "theme")

    config = yaml.safe_load((HERE / "mkdocs.yml").read_text())
    for section in config["nav"]:
        if "Manual pages" in section:
            section["Manual pages"] = [{_title(page): PLACES[page]} for page in MANUALS]
    (where / "mkdocs.yml").write_text(yaml.safe_dump(config))
    # Not --quiet: what is not shown does not count for --strict.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", where / "mkdocs.yml"]
    # The notices of the theme's makers are of no use to who builds this.
    done = subprocess.run(
        command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _place(source: Path) -> str:
    return PLACES.get(source) or str(source.relative_to(TREE))


def _title(page: Path) -> str:
    return f"{page.stem}({page.suffix[1:]})"


def _adapt(source: Path, pages: Path) -> str:
    """The page `source` with links that are right in the site; files that it links to are copied below `pages`."""
    here = Path(_place(source)).parent

    def link(found: "re.Match[str]") -> str:
        mark, text, target = found.groups()
        path, sign, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return found[0]
        file = (source.parent / path).resolve()
        if file.suffix == ".svg" and 'class="drawing"' in file.read_text():
            return _spell_drawing(file, text)
        if file.is_dir():
            return text
        if file in PLACES or file in TEXTS:
            target = _place(file)
        elif file.is_file():
            # As text: a browser would offer it for download otherwise.
            target = f"files/{file.relative_to(TREE)}{'' if mark else '.txt'}"
            (pages / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, pages / target)
        return f"{mark}[{text}]({os.path.relpath(target, here)}{sign}{anchor})"

    # Not in code: between fences, and between backticks.
    parts = re.split(r"(^```.*?^```$|`[^`\n]*`)", source.read_text(), flags=re.MULTILINE | re.DOTALL)
    held = dict(enumerate(parts[1::2]))
    text = "".join(part if number % 2 == 0 else f"\0{number // 2}\0" for number, part in enumerate(parts))
    text = re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", link, text)
    return re.sub(r"\0(\d+)\0", lambda found: held[int(found[1])], text)


def _spell_drawing(file: Path, text: str) -> str:
    """The drawing as a part of its page: dark when the page is, and not when the system is."""
    drawing = file.read_text()
    drawing = re.sub(
        r"@media \(prefers-color-scheme: dark\) \{(.*?)\n\s*\}\n",
        lambda found: re.sub(r"(^|(?<=\} ))\s*\.", "\n[data-md-color-scheme=slate] .", found[1], flags=re.MULTILINE),
        drawing,
        flags=re.DOTALL,
    )
    drawing = re.sub(r"<!--.*?-->|<\?xml.*?\?>", "", drawing, flags=re.DOTALL)
    return f'<div class="drawn" role="img" aria-label="{" ".join(text.split())}">{" ".join(drawing.split())}</div>'


def _spell_manual(page: Path) -> str:
    """The manual page as HTML in a page of Markdown, with links to the others of ours."""
    done = subprocess.run(
        ["mandoc", "-T", "html", "-O", "fragment", page], stdout=subprocess.PIPE, text=True, check=True
    )
    # Without the lines at its top and its bottom, which repeat name, version and section.
    text = re.sub(r'<(table|div) class="(head|foot)".*?</\1>', "", done.stdout, flags=re.DOTALL)
    # Below the title of the page.
    text = re.sub(r"(</?)h([12])\b", lambda found: f"{found[1]}h{int(found[2]) + 1}", text)
    for other in MANUALS:
        name, section = other.stem, other.suffix[1:]
        text = re.sub(
            rf"<b>{re.escape(name)}</b>\({section}\)", f'<a href="{other.name}.html"><b>{name}</b>({section})</a>', text
        )
    return f'---\ntitle: "{_title(page)}"\n---\n\n# {_title(page)}\n\n<div class="manual">\n{text}\n</div>\n'


def _spell_news(text: str) -> str:
    """NEWS as Markdown: its titles and lists are those of a plain text."""
    text = re.sub(r"^(overlay-generator \S+ \(.*\))$", r"## \1", text, flags=re.MULTILINE)
    text = re.sub(r"^ \* ", "* ", text, flags=re.MULTILINE)
    return "# News\n\n" + re.sub(r"([<_*])(?! )", r"\\\1", text)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())

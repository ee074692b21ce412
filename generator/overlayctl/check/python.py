# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Python in the image: its version, whether our package is compiled for it, and the modules that are needed."""

import ast
import sys
from dataclasses import dataclass

from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image

LIBRARY = "/usr/lib/overlay-generator"
_PYTHON = "/usr/bin/python3"
_OLDEST = (3, 9)
_LONGEST = 1 << 18  # bytes of a source; ours have a twentieth, and the parser takes 250 times its size in memory
# What the interpreter itself loads with -ISB before the first line of ours; from 3.11 on the rest is frozen in it.
_START = ("encodings", "encodings.aliases", "encodings.utf_8")
_START_BEFORE_311 = ("abc", "codecs", "io")
# What a boot runs: the generator, and prepare.
_BOOT = ("overlay_generator", "overlay_prepare")
# For overlayctl; without the optional ones, status shows less.
_OPERATOR = ("argparse", "dataclasses", "difflib", "json", "subprocess", "tarfile")
_OPTIONAL = ("psutil", "pyudev")


@dataclass(frozen=True)
class Python:
    """The interpreter of an image; `major` and `minor` are 0 where its version is not known."""

    path: str
    major: int = 0
    minor: int = 0

    @property
    def version(self) -> str:
        """E.g. 3.13."""
        return f"{self.major}.{self.minor}"

    @property
    def tag(self) -> str:
        """What is in the name of a compiled file, e.g. cpython-313."""
        return f"cpython-{self.major}{self.minor}"


def check(image: Image, library: str = LIBRARY) -> "list[Finding]":
    """All that is wrong with Python in `image`."""
    target = image.resolve(_PYTHON)
    if not image.is_executable(_PYTHON):
        return [make("python-missing", _PYTHON, name=_PYTHON)]
    python = _find_version(image, target)
    if python.minor == 0:
        return []
    if (python.major, python.minor) < _OLDEST:
        return [make("python-too-old", target, version=python.version)]
    findings = _check_modules(image, python, library)
    for package in (*_BOOT, "overlayctl"):
        findings += _check_compiled(image, python, f"{library}/{package}")
    return findings


def _find_version(image: Image, target: str) -> Python:
    """By the name of the interpreter, e.g. /usr/bin/python3.13, else by the only library that is there."""
    tail = target.rpartition("/python")[2].split(".")
    if len(tail) == 2 and all(part.isdigit() for part in tail):
        return Python(target, int(tail[0]), int(tail[1]))
    libraries = {name[6:] for folder in ("/usr/lib", "/usr/local/lib") for name in image.names(folder, "python3.*")}
    only = libraries.pop().split(".") if len(libraries) == 1 else []
    return Python(target, 3, int(only[1])) if len(only) == 2 and only[1].isdigit() else Python(target)


def _check_modules(image: Image, python: Python, library: str) -> "list[Finding]":
    paths = _search_paths(image, python)
    findings = []
    start = _START + (() if python.minor >= 11 else _START_BEFORE_311)
    wanted = dict.fromkeys(start, "Python itself")
    for name in _find_imports(image, *(f"{library}/{package}" for package in _BOOT)):
        wanted.setdefault(name, "the generator")
    has_command = image.exists(f"{library}/overlayctl")
    for name in _OPERATOR if has_command else ():
        wanted.setdefault(name, "overlayctl")
    package = (
        f"libpython{python.version}-stdlib"
        if image.exists("/etc/debian_version")
        else f"all of Python {python.version}"
    )
    for name, user in wanted.items():
        if not _has_module(image, paths, name):
            advice = f"install {package}" if user == "overlayctl" else "install python3-minimal"
            findings.append(make("python-module", python.path, name=name, user=user, advice=advice))
    for name in _OPTIONAL if has_command else ():
        if not _has_module(image, paths, name):
            advice = f"install python3-{name}"
            findings.append(make("python-module-optional", python.path, name=name, user="overlayctl", advice=advice))
    return findings


def _find_imports(image: Image, *packages: str) -> "list[str]":
    """The modules outside of the packages that the boot imports, sorted."""
    found: set[str] = set()
    for path in (path for package in packages for path in _find_sources(image, package)):
        if path.endswith("/dryrun.py"):  # for people, never at boot
            continue
        try:
            tree = ast.parse(image.text(path, _LONGEST))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # not a file of ours; the parser itself limits how deep it goes
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    # What only type checkers read is never loaded.
    return sorted(name for name in found if name.partition(".")[0] not in (*_BOOT, "collections", "typing"))


def _find_sources(image: Image, package: str, depth: int = 3) -> "list[str]":
    """The paths of all modules of `package`, its own before those of its folders."""
    found = [f"{package}/{name}" for name in image.names(package, "*.py")]
    for name in image.names(package):
        path = f"{package}/{name}"
        # A link could lead back to a directory above it.
        if depth and "." not in name and name != "__pycache__" and image.resolve(path).endswith(f"/{name}"):
            found += _find_sources(image, path, depth - 1)
    return found


def _search_paths(image: Image, python: Python) -> "list[str]":
    """sys.path of the image's interpreter, with the directories where distributions put what they package."""
    prefix = "/usr/local" if python.path.startswith("/usr/local") else "/usr"
    home = f"{prefix}/lib/python{python.version}"
    home64 = f"{prefix}/lib64/python{python.version}"
    base = [home, home64, f"{home}/lib-dynload", f"{home64}/lib-dynload"]
    sites = [f"{home}/site-packages", f"{home64}/site-packages", f"{prefix}/lib/python3/dist-packages"]
    # A zip, as Python's own zipimport reads it, is assumed to be complete.
    zipped = f"{prefix}/lib/python{python.major}{python.minor}.zip"
    return [*base, *sites, *([zipped] if image.exists(zipped) else [])]


def _has_module(image: Image, paths: "list[str]", name: str) -> bool:
    if name.partition(".")[0] in sys.builtin_module_names or name.startswith("_"):
        return True
    path = name.replace(".", "/")
    for top in paths:
        if top.endswith(".zip"):
            return True
        # A .pyc in its place: images that ship no sources.
        if any(image.exists(f"{top}/{path}{end}") for end in (".py", ".pyc", "/__init__.py", "/__init__.pyc")):
            return True
        folder, _, last = f"{top}/{path}".rpartition("/")
        if image.names(folder, f"{last}.*.so") or image.exists(f"{top}/{path}.so"):
            return True
    return False


def _check_compiled(image: Image, python: Python, package: str) -> "list[Finding]":
    sources = _find_sources(image, package)
    missing, stale = [], []
    for path in sources:
        folder, _, name = path.rpartition("/")
        cached = image.read(f"{folder}/__pycache__/{name[:-3]}.{python.tag}.pyc")
        if cached is None:
            missing.append(path[len(package) + 1 :])
        elif _is_stale(cached, image, path):
            stale.append(path[len(package) + 1 :])
    findings = []
    if missing:
        count, total = len(missing), len(sources)
        findings.append(
            make("not-compiled", package, count=count, total=total, name=missing[0], version=python.version)
        )
    if stale:
        findings.append(make("compiled-stale", package, count=len(stale), name=stale[0]))
    return findings


def _is_stale(data: bytes, image: Image, source: str) -> bool:
    """True if Python would not use the compiled file `data` (PEP 552: flags, then time and size of the source)."""
    if len(data) < 16:
        return True
    if int.from_bytes(data[4:8], "little") & 1:
        return False  # by hash: unchecked, or checked and right, as nobody edits an image's sources
    info = image.find(source)
    noted = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:16], "little")
    return info is not None and noted != (int(info.st_mtime) & 0xFFFFFFFF, info.st_size & 0xFFFFFFFF)

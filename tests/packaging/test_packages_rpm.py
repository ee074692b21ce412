# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The RPMs, built by Debian's rpm: what is in which, twice the same, and that they run from where they lie.

Fedora's and openSUSE's own trees are out of reach; their macros are set here as their documentation has them.
"""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sources import copy_sources, ran

from overlay_generator import __version__
from product import ENVIRON, REPOSITORY

pytestmark = pytest.mark.skipif(not os.environ.get("PACKAGES"), reason="takes minutes: make packages-check")

# The database of this machine's RPMs is empty; the tests that a build runs are run by the Debian package's.
RPMBUILD = "RPMBUILD=rpmbuild --nodeps --nocheck"


# Packaging Guidelines of Fedora (Dist Tag, Python, Shell Completions) and openSUSE, and macros.systemd of systemd.
_SYSTEMD = {
    "_unitdir": "/usr/lib/systemd/system",
    "_systemdgeneratordir": "/usr/lib/systemd/system-generators",
    "_journalcatalogdir": "/usr/lib/systemd/catalog",
    **{f"systemd_{when}()": f"systemctl-{when} %{{?*}}" for when in ("post", "preun", "postun")},
}
DISTRIBUTIONS = {
    "fedora": {
        **_SYSTEMD, "fedora": "42", "dist": ".fc42", "python3": "/usr/bin/python3", "python3_version": "3.13",
        "bash_completions_dir": "%{_datadir}/bash-completion/completions",
        "fish_completions_dir": "%{_datadir}/fish/vendor_completions.d",
        "zsh_completions_dir": "%{_datadir}/zsh/site-functions",
    },
    "opensuse": {**_SYSTEMD, "suse_version": "1600", "python3_version": "3.13"},
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("rpm"))


@pytest.fixture(scope="module")
def dist(sources: Path) -> Path:
    ran("make", "-s", "rpm", RPMBUILD, cwd=sources)
    return sources / "dist"


def package(dist: Path, name: str) -> Path:
    (rpm,) = dist.glob(f"{name}-{__version__}-*.noarch.rpm")
    return rpm


def files(rpm: Path) -> "set[str]":
    return set(ran("rpm", "-qpl", rpm, cwd=rpm.parent).split())


def test_the_packages_part_what_make_install_puts(sources: Path, dist: Path, tmp_path: Path) -> None:
    ran("make", "-s", "install", f"DESTDIR={tmp_path}", cwd=sources)
    wanted = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if not path.is_dir()}
    generator, overlayctl = (files(package(dist, name)) for name in ("overlay-generator", "overlayctl"))
    assert generator & overlayctl == set()
    assert wanted - generator - overlayctl == set()
    documents = ("/usr/share/doc/", "/usr/share/licenses/")
    directories = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_dir()}
    more = {path for path in generator | overlayctl if not path.startswith(documents)}
    assert more - wanted - directories == set()


def test_building_twice_gives_the_same_bytes(sources: Path, dist: Path) -> None:
    """In the same place: rpm writes the path into the package of the sources, and its hash into all others."""
    first = {path.name: path.read_bytes() for path in dist.glob("*.rpm")}
    for old in (sources / "build", dist):
        shutil.rmtree(old)
    environ = {"PATH": os.environ["PATH"], "HOME": str(sources), "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(
        ["make", "-s", "rpm", RPMBUILD], cwd=sources, env=environ, umask=0o027, check=True, capture_output=True
    )
    assert len(first) == 3
    assert {path.name: path.read_bytes() for path in dist.glob("*.rpm")} == first


def test_rpmlint(dist: Path) -> None:
    """Nothing but what rpmlint.toml has reasons for."""
    spec = REPOSITORY / "packaging/rpm/overlay-generator.spec"
    printed = ran("rpmlint", "--config", spec.with_name("rpmlint.toml"), *sorted(dist.glob("*.rpm")), spec, cwd=dist)
    assert "0 errors, 0 warnings" in printed, printed


def test_what_was_packed_runs(dist: Path, tmp_path: Path) -> None:
    for name in ("overlay-generator", "overlayctl"):
        archive = subprocess.run(["rpm2cpio", package(dist, name)], capture_output=True, check=True).stdout
        subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    # The library in the place that the scripts name, for this process alone.
    overlay = 'mount -t overlay -o lowerdir="$0/usr/lib:/usr/lib" lib /usr/lib && exec "$@"'
    for script in ("usr/lib/systemd/system-generators/overlay-generator", "usr/bin/overlayctl"):
        command = ["unshare", "--mount", "sh", "-c", overlay, str(tmp_path), str(tmp_path / script), "--version"]
        done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)
        assert done.stdout == f"{Path(script).name} {__version__}\n", done.stderr


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_spec_with_documented_macros(name: str, tmp_path: Path) -> None:
    spec = REPOSITORY / "packaging/rpm/overlay-generator.spec"
    macros = [word for key, value in DISTRIBUTIONS[name].items() for word in ("--define", f"{key} {value}")]
    text = ran("rpmspec", *macros, "-P", spec, cwd=tmp_path)
    # Nothing is left that only another distribution would know.
    assert not re.findall(r"%\{\??\w+|^%(?:systemd|python|py3)\w*", text, re.MULTILINE), text
    assert "systemctl-preun overlay-boot-check.service" in text
    assert "systemctl-preun overlay-metrics.timer" in text
    assert "python(abi) = 3.13" in text
    wanted = {"fedora": "python3-rpm-macros", "opensuse": "python-rpm-macros"}
    assert {other for other in wanted.values() if re.search(rf"^BuildRequires: +{other}$", text, re.MULTILINE)} == {
        wanted[name]
    }
    # What is listed is what make install puts there.
    ran("make", "-s", "-C", REPOSITORY, "install", f"DESTDIR={tmp_path / 'tree'}", cwd=tmp_path)
    installed = {f"/{path.relative_to(tmp_path / 'tree')}" for path in (tmp_path / "tree").rglob("*")}
    for line in text.partition("\n%files")[2].partition("\n%changelog")[0].splitlines():
        path = line.split()[-1] if line.startswith(("/", "%dir ")) else ""
        assert not path or fnmatch.filter(installed, path.rstrip("/")), path

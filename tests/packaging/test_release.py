# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""packaging/release on a small project of its own: what it refuses, and that nothing is tagged then."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import commit, ran, run

from product import REPOSITORY

FILES = {
    "generator/overlay_generator/__init__.py": '__version__ = "1.2.3"\n',
    "NEWS": "overlay-generator 1.2.3 (2026-01-02)\n\n * It does more.\n\n"
    "overlay-generator 1.2.2 (2026-01-01)\n\n * It was.\n",
    "packaging/debian/changelog": "overlay-generator (1.2.3-1) unstable; urgency=medium\n",
    "packaging/rpm/overlay-generator.spec": "Version:        1.2.3\n%changelog\n* Fri Jan 02 2026 us <u@s> - 1.2.3-1\n",
    "packaging/man/overlay-generator.8": '.TH OVERLAY-GENERATOR 8 "" "overlay-generator 1.2.3" "overlay-generator"\n',
    "tests/run": "#!/bin/sh\ntrue\n",
    "Makefile": "dist pypi:\n\tmkdir -p dist && echo same >dist/$@.tar.gz\n",
    ".gitignore": "/dist/\n",
}
# What is wrong, the file, its text with that, and what is said.
WRONG = [
    ("untold", "NEWS", "overlay-generator 1.2.3 (not released yet)\n\n * It.\n", "NEWS:1: says 'not released yet'"),
    (
        "old-news",
        "NEWS",
        "overlay-generator 1.2.2 (2026-01-01)\n\n * It.\n",
        "should be: overlay-generator 1.2.3 (YYYY",
    ),
    ("no-news", "NEWS", "overlay-generator 1.2.3 (2026-01-02)\n\n", "NEWS: says nothing about 1.2.3"),
    (
        "only-old-news",
        "NEWS",
        "overlay-generator 1.2.3 (2026-01-02)\n\noverlay-generator 1.2.2 (2026-01-01)\n\n * It was.\n",
        "NEWS: says nothing about 1.2.3",
    ),
    ("empty-news", "NEWS", "", "NEWS:1: ''"),
    ("version", "generator/overlay_generator/__init__.py", '__version__ = "1.2"\n', "'1.2', not like 1.2.3"),
    ("no-version", "generator/overlay_generator/__init__.py", "", "'', not like 1.2.3"),
    ("unreleased", "packaging/debian/changelog", "overlay-generator (1.2.3-1) UNRELEASED; x\n", "says UNRELEASED"),
    ("changelog", "packaging/debian/changelog", "overlay-generator (1.2.2-1) unstable; x\n", "is not for 1.2.3"),
    ("spec", "packaging/rpm/overlay-generator.spec", "Version: 1.2.30\n%changelog\n* x - 1.2.3-1\n", "Version: is not"),
    (
        "spec-log",
        "packaging/rpm/overlay-generator.spec",
        "Version: 1.2.3\n%changelog\n* x - 1.2.2-1\n",
        "%changelog does not begin with 1.2.3",
    ),
    ("manual", "packaging/man/other.1", '.TH OTHER 1 "" "overlay-generator 1.2.2"\n', "other.1: .TH is not for 1.2.3"),
    ("tests", "tests/run", "#!/bin/sh\nfalse\n", "the tests fail"),
    ("bytes", "Makefile", "dist pypi:\n\tmkdir -p dist && date +%s%N >dist/$@.tar.gz\n", "the same bytes"),
    ("pack", "Makefile", "dist:\n\tfalse\n", "Error 1"),
    ("dirties", "tests/run", "#!/bin/sh\ntouch left-behind\n", "?? left-behind"),
    ("moves", "tests/run", "#!/bin/sh\ngit commit -q --allow-empty -m x\n", "HEAD has moved"),
]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("release")
    for name, text in FILES.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy2(REPOSITORY / "packaging/release", tree / "packaging/release")
    (tree / "tests/run").chmod(0o755)
    commit(tree)
    return tree


@pytest.fixture
def project(committed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(committed, tmp_path / "project")


def test_a_release_is_packed_and_tagged_with_its_news(project: Path) -> None:
    printed = ran("packaging/release", cwd=project)
    assert "git push origin v1.2.3" in printed
    assert ran("git", "tag", cwd=project) == "v1.2.3\n"
    assert ran("git", "rev-list", "-1", "v1.2.3", cwd=project) == ran("git", "rev-parse", "HEAD", cwd=project)
    told = ran("git", "tag", "-n9", cwd=project)
    assert "It does more." in told
    assert "It was." not in told
    assert len((project / "dist/SHA256SUMS").read_text().splitlines()) == 2


def signed(tree: Path, *settings: str) -> str:
    """What packaging/release prints with these settings of git."""
    for setting in settings:
        name, _, value = setting.partition("=")
        ran("git", "config", name, value, cwd=tree)
    return ran("packaging/release", cwd=tree, GNUPGHOME=str(tree.parent / "keys"))


def need(tool: str) -> None:
    if not shutil.which(tool):
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")


@pytest.fixture
def key(tmp_path: Path) -> "Iterator[str]":
    """The fingerprint of an OpenPGP key that ends with the test."""
    home = tmp_path / "keys"
    home.mkdir(mode=0o700)
    need("gpg")
    words = (
        "gpg",
        "--batch",
        "--passphrase",
        "",
        "--quick-generate-key",
        "nobody@example.org",
        "ed25519",
        "sign",
        "1d",
    )
    ran(*words, cwd=tmp_path, GNUPGHOME=str(home))
    listed = ran("gpg", "--with-colons", "--list-secret-keys", cwd=tmp_path, GNUPGHOME=str(home))
    yield next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
    run("gpgconf", "--kill", "all", cwd=tmp_path, GNUPGHOME=str(home))


def test_tag_and_checksums_are_signed(project: Path, key: str) -> None:
    assert "SHA256SUMS.asc, see gpg --verify" in signed(project, f"user.signingkey={key}")
    home = str(project.parent / "keys")
    ran("git", "verify-tag", "v1.2.3", cwd=project, GNUPGHOME=home)
    ran("gpg", "--verify", "dist/SHA256SUMS.asc", "dist/SHA256SUMS", cwd=project, GNUPGHOME=home)
    ran("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=project / "dist")
    (project / "dist/SHA256SUMS").write_text("other\n")
    assert run("gpg", "--verify", "dist/SHA256SUMS.asc", "dist/SHA256SUMS", cwd=project, GNUPGHOME=home).returncode


def test_the_same_by_an_ssh_key(project: Path, tmp_path: Path) -> None:
    need("ssh-keygen")
    ran("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key", cwd=tmp_path)
    public = (tmp_path / "key.pub").read_text()
    (tmp_path / "signers").write_text(f"nobody@example.org {public}")
    settings = (f"user.signingkey={tmp_path}/key", "gpg.format=ssh", f"gpg.ssh.allowedSignersFile={tmp_path}/signers")
    assert "SHA256SUMS.sig" in signed(project, *settings)
    ran("git", "verify-tag", "v1.2.3", cwd=project)
    verify = f"ssh-keygen -Y verify -f {tmp_path}/signers -I nobody@example.org -n file -s SHA256SUMS.sig <SHA256SUMS"
    ran("sh", "-c", verify, cwd=project / "dist")


def test_what_cannot_be_signed_is_not_tagged(project: Path) -> None:
    ran("git", "config", "user.signingkey", "0000000000000000", cwd=project)
    done = run("packaging/release", cwd=project, GNUPGHOME=str(project.parent))
    assert done.returncode != 0
    ran("git", "config", "gpg.format", "x509", cwd=project)
    done = run("packaging/release", cwd=project)
    assert (done.returncode, "gpg.format = x509" in done.stderr) == (1, True)
    assert ran("git", "tag", cwd=project) == ""


def test_without_a_key_it_says_so(project: Path) -> None:
    assert "no signature, as git config has no user.signingkey" in ran("packaging/release", cwd=project)


def test_a_dry_run_makes_no_tag(project: Path) -> None:
    assert "1.2.3 is ready" in ran("packaging/release", "--dry-run", cwd=project)
    assert ran("git", "tag", cwd=project) == ""


def test_what_an_older_release_left_is_not_released_again(project: Path) -> None:
    (project / "dist").mkdir()
    (project / "dist/old.tar.gz").touch()
    ran("packaging/release", "--dry-run", cwd=project)
    assert "old" not in (project / "dist/SHA256SUMS").read_text()


@pytest.mark.parametrize(("file", "text", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_refused(file: str, text: str, said: str, project: Path) -> None:
    (project / file).write_text(text)
    commit(project)
    done = run("packaging/release", cwd=project)
    assert done.returncode != 0
    assert said in done.stderr
    assert ran("git", "tag", cwd=project) == ""


def test_a_dirty_tree_is_refused(project: Path) -> None:
    (project / "NEWS").write_text(FILES["NEWS"] + "more\n")
    (project / "forgotten").touch()
    done = run("packaging/release", "--dry-run", cwd=project)
    assert done.returncode == 1
    assert " M NEWS\n?? forgotten" in done.stderr


def test_a_version_is_released_once(project: Path) -> None:
    ran("packaging/release", cwd=project)
    done = run("packaging/release", cwd=project)
    assert done.returncode == 1
    assert "the tag v1.2.3 exists already" in done.stderr


def test_all_that_is_wrong_is_said_at_once(project: Path) -> None:
    (project / "NEWS").write_text("")
    (project / "packaging/debian/changelog").write_text("")
    done = run("packaging/release", cwd=project)
    assert done.stderr.count("packaging/release: ") == 4  # and that neither is committed, nor anything told


def test_a_tree_without_git_is_refused(project: Path) -> None:
    shutil.rmtree(project / ".git")
    commit(project.parent)
    done = run("packaging/release", cwd=project)
    assert (done.returncode, done.stderr) == (2, "packaging/release: this is not a git checkout\n")


def test_wrong_usage(project: Path) -> None:
    done = run("packaging/release", "--now", cwd=project)
    assert (done.returncode, done.stderr) == (2, "usage: packaging/release [--dry-run]\n")

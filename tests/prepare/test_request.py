# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arguments of prepare, as the units give them."""

import pytest

from commands import read_commands
from overlay_generator.model import Backing, Directory, OverlayMount, Plan, Settings, UnitFile, Word
from overlay_generator.render import render
from overlay_prepare.request import Request, parse


def test_every_option_is_read() -> None:
    words = "--mount=/m --type=ext4 --fallback=size=1%,x --reset=yes --policy=prune --direct=/var/a --direct=/var/b"
    found = parse([*words.split(), "--verify=yes", "/var", "/run/buildroot/mounts/var"])
    expected = Request(
        "/var", "/run/buildroot/mounts/var", "/m", "ext4", "size=1%,x", True, "prune", ("/var/a", "/var/b"), True
    )
    assert vars(found) == vars(expected)
    assert found.name == "var"


def test_what_is_not_given_is_off() -> None:
    assert vars(parse(["--mount=/m", "/var", "/b"])) == vars(
        Request("/var", "/b", "/m", "", "", False, "keep", (), False)
    )
    defaults = vars(Request("/var", "/b", "/m"))
    assert [name for name, value in defaults.items() if value is True] == ["notify"]
    assert defaults == vars(parse(["--mount=/m", "/var", "/b"]))


@pytest.mark.parametrize(("arguments", "text"), [
    ([], "too few arguments"),
    (["/var"], "too few arguments"),
    (["/var", "/b"], "too few arguments"),
    (["--type=ext4", "/var", "/b"], "--mount= is missing"),
    (["--mount=/m", "--nonsense=x", "/var", "/b"], "--nonsense=x: not known"),
    (["--mount=/m", "--reset", "/var", "/b"], "--reset: not known"),
    (["--mount=/m", "/x", "/var", "/b"], "/x: not known"),
])  # fmt: skip
def test_what_is_not_understood_is_named(arguments: "list[str]", text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        parse(arguments)


@pytest.mark.parametrize(
    "path", ["/var", "/srv/a b", "/srv/100%", "/srv/$HOME", "/srv/it's", '/srv/say "it"', "/srv/a\\b"]
)
@pytest.mark.parametrize("verify", [False, True])
def test_what_the_units_say_is_what_is_read(path: str, verify: bool) -> None:
    backing = Backing("/run/buildroot/mounts/x", "/run/buildroot/mounts", False, False, True, "/etc/fstab", "xfs")
    asked = Settings("refresh", "64M", "5", passthrough=(Word(path + "/in", "x", 1),))
    mount = OverlayMount(path, "x", backing, Directory("directory"), reset=True, settings=asked)
    texts = [file.text for file in render(Plan((mount,))) if isinstance(file, UnitFile)]
    lines = [
        line for text in texts for line in text.splitlines() if "/prepare" in line and ("--verify" in line) is verify
    ]
    assert len(lines) == 1
    words = next(words for words in read_commands(lines[0]) if "-ISB" in words)
    found = parse(words[words.index("-ISB") + 2 :])
    # Without nosuid and nodev, as something is passed through to it.
    fallback = "mode=0700,size=64M,nr_inodes=5"
    expected = Request(path, backing.path, backing.mount, "xfs", fallback, True, "refresh", (path + "/in",), verify)
    assert vars(found) == vars(expected)


def test_each_of_the_others_is_read() -> None:
    words = "--adapt=yes --flags=nosuid, --mounter=u:r:x --notify=notice --rollback=hold --commit=604800"
    found = parse(["--mount=/m", *words.split(), "/var", "/b/a-b"])
    assert (found.adapt, found.flags, found.mounter, found.notify) == (True, "nosuid,", "u:r:x", False)
    assert (found.rollback, found.commit, found.name) == ("hold", "604800", "a-b")
    none = parse(["--mount=/m", "/var", "/b"])
    assert (none.adapt, none.flags, none.mounter, none.notify) == (False, "", "", True)
    assert (none.rollback, none.commit) == ("no", "good")
    for word in ("--reset=no", "--verify=no", "--adapt=no", "--notify=fail"):
        found = parse(["--mount=/m", word, "/var", "/b"])
        assert (found.reset, found.verify, found.adapt, found.notify) == (False, False, False, True)

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which software of an image keeps overlays of its own, and where its settings put them."""

from pathlib import Path

import pytest

from overlay_generator.engines import _DIRECTORIES, _ENGINES, find_storage, find_value
from overlay_generator.gather import read_file
from overlay_generator.look import Look
from overlay_generator.model import Unit
from overlay_generator.names import ENGINES, OVERLAID

SYSTEM = "/usr/lib/systemd/system"


def look(root: Path, files: "dict[str, str]") -> Look:
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Look(str(root), lambda top, path: read_file(top + path), lambda top, path, _follow: top + path)


def units(*names: str, kind: str = "vendor") -> "dict[str, Unit]":
    return {name: Unit(kind, f"{SYSTEM}/{name}") for name in names}


@pytest.mark.parametrize(("names", "files", "expected"), [
    (("docker.service",), {}, {"/var/lib/docker": False}),
    (("snap.docker.dockerd.service",), {}, {"/var/snap/docker/common/var-lib-docker": False}),
    (("containerd.service",), {}, {"/var/lib/containerd": True}),
    (("podman.service", "podman.socket"), {}, {"/var/lib/containers": True}),
    (("k3s-agent.service",), {}, {"/var/lib/rancher": True}),
    (("rke2-server.service", "rke2-agent.service"), {}, {"/var/lib/rancher": True}),
    (("docker.service",), {"/etc/docker/daemon.json": '{"debug": true, "data-root": "/var/data/docker"}'},
     {"/var/data/docker": False}),
    (("docker.service",), {"/etc/docker/daemon.json": '{"data-root": 1, "x": "data-root"}'},
     {"/var/lib/docker": False}),
    (("podman.service",), {"/etc/containers/storage.conf": '[storage]\ndriver = "overlay"\ngraphroot = "/var/pods"\n'},
     {"/var/pods": True}),
    (("podman.service",), {"/usr/share/containers/storage.conf": '[storage]\n# graphroot = "/no"\ngraphroot="/var/p/"'},
     {"/var/p": True}),
    (("crio.service",), {"/etc/containers/storage.conf": "graphroot = '/var/pods' # here"}, {"/var/pods": True}),
    (("containerd.service",), {"/etc/containerd/config.toml": 'version = 2\nroot = "/var/ctr"\n'}, {"/var/ctr": True}),
    (("k3s.service",), {"/etc/rancher/k3s/config.yaml": "token: x\ndata-dir: /var/k3s\n"}, {"/var/k3s": True}),
    ((), {"/var/lib/extensions.mutable/usr/.keep": ""}, {"/var/lib/extensions.mutable": True}),
    ((), {}, {}),
])  # fmt: skip
def test_where_the_storage_is_and_if_anything_works_there(
    names: "tuple[str, ...]", files: "dict[str, str]", expected: "dict[str, bool]", tmp_path: Path
) -> None:
    found = find_storage(look(tmp_path, files), units(*names))
    assert {storage.path: storage.fails for storage in found} == expected


def test_what_is_looked_for_is_what_is_known() -> None:
    assert (tuple(_ENGINES), tuple(_DIRECTORIES)) == (ENGINES, OVERLAID)


def test_a_masked_engine_stores_nothing(tmp_path: Path) -> None:
    assert find_storage(look(tmp_path, {}), units(*ENGINES, kind="mask")) == ()


@pytest.mark.parametrize("text", ["", "{", '"data-root"', '{"data-root": "relative"}', "data-rooted: /x", "\0" * 9])
def test_settings_that_say_nothing(text: str) -> None:
    assert find_value(text, "data-root") == ""

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units that a configuration adds or changes: limits, flags, options, passed-through directories."""

import pytest

from overlay_generator.found import Mounter
from overlay_generator.model import OverlayMount, Plan, Settings, UnitLink, Word
from overlay_generator.names import mount_unit
from overlay_generator.render import render
from plans import disk, overlay, units, values


def configured(mount: OverlayMount, **settings: object) -> OverlayMount:
    mount.settings = Settings(**settings)  # type: ignore[arg-type]
    return mount


def words(*texts: str) -> "tuple[Word, ...]":
    return tuple(Word(text, "/etc/overlay-generator.conf", 3) for text in texts)


@pytest.mark.parametrize(("size", "inodes", "options"), [
    ("", "", "size=25%%"), ("64M", "", "size=64M"), ("10%", "", "size=10%%"), ("", "20k", "size=25%%,nr_inodes=20k"),
    ("1G", "5", "size=1G,nr_inodes=5"),
])  # fmt: skip
def test_limits_are_those_of_the_memory_and_of_what_replaces_a_disk(size: str, inodes: str, options: str) -> None:
    text = units(configured(overlay(), size=size, inodes=inodes))["run-buildroot-mounts-var.mount"]
    assert values(text, "Options") == [f"mode=0700,nosuid,nodev,{options}"]
    texts = units(configured(disk(nofail=True), size=size, inodes=inodes))
    command = values(texts["fallback-run-buildroot-mounts-var.service"], "ExecStart")[1]
    assert f"-o mode=0700,nosuid,nodev,{options} tmpfs" in command
    assert f"--fallback=mode=0700,nosuid,nodev,{options} " in texts["prepare-var-overlay.service"]


def test_flags_come_first_and_options_replace_those_of_the_same_key() -> None:
    mount = configured(overlay(), flags=("nosuid", "noexec"), options=words("index=off", "xino=auto", "volatile"))
    options = values(units(mount)["var.mount"], "Options")[0]
    assert options.startswith("nosuid,noexec,lowerdir=")
    assert options.endswith("/work,redirect_dir=on,metacopy=off,nfs_export=off,index=off,xino=auto,volatile")


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
@pytest.mark.parametrize("persistent", [True, False])
def test_a_policy_is_for_what_outlives_the_boot(policy: str, persistent: bool) -> None:
    mount = configured(disk() if persistent else overlay(tmpfs=False), policy=policy)
    text = units(mount)["prepare-var-overlay.service"]
    assert (f" --policy={policy} " in text) is (persistent and policy != "keep")


@pytest.mark.parametrize("mount", [overlay(), disk(), disk(nofail=True)])
def test_what_is_passed_through_is_bound_over_the_overlay(mount: OverlayMount) -> None:
    mount = configured(mount, passthrough=words("/var/lib/docker", "/var/a b"))
    texts = units(mount)
    text = texts["var-lib-docker.mount"]
    source = "/run/overlay-generator/var.direct/var-lib-docker"
    assert (values(text, "What"), values(text, "Where")) == ([source], ["/var/lib/docker"])
    assert (values(text, "Type"), values(text, "Options")) == (["none"], ["bind"])
    assert values(text, "SourcePath") == ["/etc/overlay-generator.conf"]
    assert values(text, "ConditionPathIsDirectory") == [source]
    assert values(text, "ConditionPathIsMountPoint") == ["/var"]
    assert {"prepare-var-overlay.service", "var.mount"} <= set(values(text, "After")[0].split())
    assert values(text, "Before") == ["local-fs.target"]
    # Where it can't be mounted the boot goes on.
    assert "Requires" not in text
    links = [file.path for file in render(Plan((mount,))) if isinstance(file, UnitLink)]
    assert {f"local-fs.target.wants/{mount_unit(path)}" for path in ("/var/lib/docker", "/var/a b")} <= set(links)
    prepare = values(texts["prepare-var-overlay.service"], "ExecStart")[0]
    assert ' --direct=/var/lib/docker "--direct=/var/a b" /var /run/buildroot/mounts/var' in prepare
    mount.settings = Settings()


def test_a_read_only_overlay_is_told_after_the_mount_and_by_nothing_else() -> None:
    text = units(disk())["verify-var-overlay.service"]
    assert values(text, "After") == ["var.mount"]
    assert values(text, "ConditionPathIsMountPoint") == ["/var"]
    assert values(text, "ConditionPathIsReadWrite") == ["!/var"]
    assert values(text, "StandardError") == ["journal+console"]
    assert "verify-" not in "".join(units(overlay()))


def test_what_resets_comes_before_systemd_says_that_it_is_done() -> None:
    assert values(units(disk())["prepare-var-overlay.service"], "Before")[0].endswith(" factory-reset-now.target")
    assert "factory-reset" not in units(overlay())["prepare-var-overlay.service"]


# A bind mount inherits nosuid and nodev: in a container's storage in memory neither su nor a device would work.
def test_memory_that_something_is_passed_through_to_is_like_a_disk() -> None:
    text = units(configured(overlay(), passthrough=words("/var/lib/docker")))["run-buildroot-mounts-var.mount"]
    assert values(text, "Options") == ["mode=0700,size=25%%"]
    # Also if that belongs to another directory on the same disk.
    mounts = (
        disk(at="/run/buildroot/mounts", nofail=True),
        configured(disk("/srv", at="/run/buildroot/mounts", nofail=True), passthrough=words("/srv/docker")),
    )
    texts = units(*mounts)
    assert "-o mode=0700,size=25%% " in values(texts["fallback-run-buildroot-mounts.service"], "ExecStart")[1]
    for name in ("var", "srv"):
        assert " --fallback=mode=0700,size=25%% " in texts[f"prepare-{name}-overlay.service"]


CONTEXT = "system_u:system_r:init_t:s0"


@pytest.mark.parametrize("mounter", [None, Mounter(""), Mounter(CONTEXT)])
def test_the_overlay_and_what_is_bound_on_it_are_mounted_in_the_domain_found(
    mounter: "Mounter | None",
) -> None:
    mount = configured(overlay(), passthrough=words("/var/lib/docker"))
    texts = {file.path: file.text for file in render(Plan((mount,), mounter=mounter)) if not isinstance(file, UnitLink)}
    found = {name: values(text, "SELinuxContext") for name, text in texts.items() if "SELinuxContext" in text}
    # With "-" it is ignored if there is no such context.
    expected = [f"-{CONTEXT}"] if mounter and mounter.context else []
    assert found == (dict.fromkeys(("var.mount", "var-lib-docker.mount"), expected) if expected else {})
    assert (f"--mounter={CONTEXT}" in texts["prepare-var-overlay.service"]) is bool(expected)


@pytest.mark.parametrize("mounter", [Mounter(""), Mounter(CONTEXT)])
def test_with_selinux_the_layers_are_made_by_what_can_label_them(mounter: Mounter) -> None:
    files = [file for file in render(Plan((overlay(),), mounter=mounter)) if not isinstance(file, UnitLink)]
    text = next(file.text for file in files if file.path.startswith("prepare-"))
    assert "/usr/lib/overlay-generator/prepare" in text
    assert "/bin/mkdir" not in text


def test_a_prepare_that_failed_is_not_started_again() -> None:
    text = units(overlay())["prepare-var-overlay.service"]
    assert values(text, "ConditionPathExists") == ["!/run/systemd/generator/var-overlay.failed"]
    assert "|| { : >/run/systemd/generator/var-overlay.failed; exit 1; }'" in values(text, "ExecStart")[0]

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An update that begins to pass a directory through, or does so again: what the user has there, or has removed."""

import os
from pathlib import Path

import pytest

from persistentdevice import NEW, OLD, Device, pretend
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
DOCKER = "lib/docker"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    """Booted with the old image."""
    pretend(tmp_path, monkeypatch)
    made = Device(tmp_path)
    made.boot()
    return made


def passed(device: Device) -> "list[str]":
    """What is in the directory that is passed through."""
    (top,) = device.backing.glob("direct/*docker")
    return sorted(os.listdir(top))


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_what_the_user_has_there_is_taken_over_by_each_policy(policy: str, device: Device) -> None:
    device.use()
    device.update()
    device.boot(policy, (DOCKER,))
    assert passed(device) == ["base", "layer"]
    assert (device.upper / "mine").exists() == (policy != "reset")


def test_what_can_not_be_taken_over_is_not_reset(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    device.use()
    device.update()
    with monkeypatch.context() as patched:
        patched.setattr("overlay_prepare.passthrough.copy_missing", fail)
        device.boot("reset", (DOCKER,))
    text = "Policy=reset is not carried out: what is to be passed through could not be taken over"
    assert f"{device.where}: {text}\n" in capsys.readouterr().err
    assert (device.upper / DOCKER / "layer").read_text() == "mine"


REMOVED = {
    "it": ["lib/docker!"],
    "the one above": ["lib!"],
    "the one above, made anew": ["lib/ opaque"],
    "it, made anew": ["lib/docker/ opaque"],
    "it, and a file is there": ["lib/docker=mine"],
    "it, and a link is there": ["lib/docker>elsewhere"],
    "the one above, and both made anew": ["lib/ opaque", "lib/docker/own=mine"],
}


@pytest.mark.parametrize("what", REMOVED)
def test_what_the_user_has_removed_is_not_there_again(what: str, device: Device) -> None:
    fill(device.upper, *REMOVED[what])
    device.update()
    device.boot(direct=(DOCKER,))
    assert passed(device) == (["own"] if "both" in what else [])


def test_what_this_image_is_the_first_to_have_was_not_removed(device: Device) -> None:
    fill(device.upper, "fresh/ opaque")
    device.update()
    fill(device.where, "fresh/docker/base=2")
    device.boot(direct=("fresh/docker",))
    assert passed(device) == ["base"]


def test_what_an_image_without_it_wrote_is_told_as_long_as_it_is_there(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.update()
    device.boot(direct=(DOCKER,))
    for number in range(3):
        Device.identity = (OLD, NEW, NEW)[number]
        capsys.readouterr()
        device.boot(direct=(DOCKER,) if number else ())
        text = "was written by an image that did not pass it through, and is not seen"
        line = f"<4>{device.where}/{DOCKER} is passed through; what is in {device.upper}/{DOCKER} {text}\n"
        assert (line in capsys.readouterr().err) == bool(number)
        if not number:
            fill(device.upper, f"{DOCKER}/of-a=a")
    (device.upper / DOCKER / "of-a").unlink()
    device.boot(direct=(DOCKER,))
    assert "is not seen" not in capsys.readouterr().err

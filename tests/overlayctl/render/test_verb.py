# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl render: every directory in render-cases/ is an image's tree, `expected` all that comes of it.

It runs three times: printing, writing into the tree, and over what was written; all with the same outcome.
"""

import os
from pathlib import Path

import pytest

import fakeroot
from analyze import verify
from overlayctl.main import main
from rendering import CASES, Render, Result, add_commands, build


def describe(result: Result, root: Path) -> str:
    return f"status {result.returncode}\n{result.stderr}{result.stdout}".replace(str(root), "ROOT")


def show_written(root: Path) -> str:
    """The files of overlayctl below `root`, as it prints them; sorted."""
    found = []
    for place in ("usr/lib/systemd/system", "usr/lib/overlay-generator/static"):
        for path in sorted((root / place).rglob("*")):
            name = f"{place}/{path.relative_to(root / place)}"
            if path.is_symlink():
                found.append(f"==> {name} -> {path.readlink()}\n")
            elif path.is_file():
                found.append(f"==> {name} <==\n{path.read_text()}\n")
                assert path.stat().st_mode & 0o7777 == 0o644, name
            else:
                assert path.stat().st_mode & 0o7777 == 0o755, name
    return "".join(sorted(found))


def sort_printed(text: str) -> str:
    blocks = text.split("\n==> ")
    blocks = [blocks[0] + "\n", *(f"==> {block}\n" for block in blocks[1:])]
    blocks[-1] = blocks[-1][:-1]
    # A link has no empty line after it, and the next block starts within the same piece.
    lines: list[str] = []
    for block in blocks:
        first, _, rest = block.partition("\n")
        if " -> " in first and rest.startswith("==> "):
            lines += [f"{first}\n", rest]
        else:
            lines.append(block)
    return "".join(sorted(lines))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, render: Render, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = tmp_path / "root"
    arguments = build(case.name, root)
    printed = render("--root", root, *arguments)
    before = show_written(root)
    written = render("--root", root, "--output", root, *arguments)
    text = describe(printed, root)
    if written.returncode != printed.returncode:
        text += f"\nwith --output: {describe(written, root)}"

    expected = case / "expected"
    if request.config.getoption("--regold"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    assert (case / "README").read_text().count("\n") == 1, "README: one line that says what the case is about"
    if written.returncode == 3:
        assert show_written(root) == before
        return
    assert (written.stderr, written.stdout) == (printed.stderr, "")
    files = show_written(root)
    assert files == sort_printed(printed.stdout)
    again = render("--root", root, "--output", root, *arguments)
    assert (again.returncode, again.stderr, show_written(root)) == (written.returncode, written.stderr, files)


def test_a_rendering_replaces_the_one_before(render: Render, tmp_path: Path) -> None:
    """As in a tree that an image builder keeps: the disk is gone from fstab, and its units with it."""
    root = tmp_path / "root"
    build("05", root)
    owner = root / "usr/lib/systemd/system/local-fs.target.wants/other.mount"
    owner.parent.mkdir(parents=True)
    owner.symlink_to("../other.mount")
    assert render("--root", root, "--output", root).returncode == 0
    assert (root / "usr/lib/systemd/system/reset-var-overlay.service").exists()
    assert (root / "usr/lib/overlay-generator/static/var.json").exists()
    (root / "etc/fstab").unlink()
    assert render("--root", root, "--output", root).returncode == 0

    plain = tmp_path / "plain"
    build("01", plain)
    assert render("--root", plain, "--output", plain).returncode == 0
    assert owner.is_symlink()
    owner.unlink()
    owner.parent.rmdir()
    assert show_written(root) == show_written(plain)
    assert not (root / "usr/lib/overlay-generator/static").exists()


def test_what_is_asked_for_can_be_given_up(render: Render, tmp_path: Path) -> None:
    """Nothing can be rendered any more: an error, and what is there stays as it was."""
    root = tmp_path / "root"
    build("01", root)
    assert render("--root", root, "--output", root).returncode == 0
    files = show_written(root)
    (root / "etc/fstab").write_text("LABEL=var /var ext4 defaults 0 2\n")
    assert render("--root", root, "--output", root).returncode == 3
    assert show_written(root) == files


def test_another_output_gets_the_same_files(render: Render, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    build("05", root)
    out.mkdir()
    assert render("--root", root, "--output", out).returncode == 0
    assert show_written(root) == ""
    assert render("--root", root, "--output", root).returncode == 0
    assert show_written(out) == show_written(root)


def test_the_umask_of_a_builder_changes_nothing(render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("05", root)
    assert render("--root", root, "--output", root, umask=0o077).returncode == 0
    assert show_written(root)  # it looks at the modes


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "--root"),
        (("--root", "/nowhere"), "--root /nowhere: not a directory"),
        (("--root", "/"), "--root /: give the tree of an image"),
        (("--root", ".", "--output", "/nowhere"), "--output /nowhere: not a directory"),
        (("--root", ".", "--output", "/"), "--output /: give the tree of an image"),
    ],
)
def test_wrong_usage_is_one_line(arguments: "tuple[str, ...]", text: str, render: Render, tmp_path: Path) -> None:
    build("01", tmp_path / "root")
    result = render(*arguments, cwd=tmp_path / "root")
    assert (result.returncode, result.stdout) == (3, "")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_tree_that_can_not_be_written_is_said(render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("01", root)
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/systemd").write_text("a file\n")
    result = render("--root", root, "--output", root)
    assert result.returncode == 3
    assert "usr/lib/systemd" in result.stderr
    assert "Traceback" not in result.stderr
    assert "a bug" not in result.stderr


def test_an_image_without_the_commands_is_told(render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("05", root)
    for name in ("mkdir", "mv", "mount"):
        (root / "bin" / name).unlink()
    result = render("--root", root)
    assert result.returncode == 1
    wrong = [line for line in result.stderr.splitlines() if line.startswith("overlayctl: wrong")]
    assert wrong == [
        f"overlayctl: wrong: /bin/{name} is not in the image, and the units run it" for name in ("mkdir", "mount", "mv")
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_without_root_the_builder_owns_nothing_in_the_image(render: Render, prefix: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("01", root)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 12345, 12345)
    # Made for root alone by pytest.
    for path in (*tmp_path.parents, *prefix.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    as_root = render("--root", root)
    assert "/bin/chown 12345:12345" in as_root.stdout
    as_user = render("--root", root, "--output", root, user=12345, group=12345, extra_groups=[])
    assert as_user.returncode == 0, as_user.stderr
    assert "chown" not in show_written(root)


# All kinds of machines that the generator knows: whatever the tree, there is a result and no traceback.
@pytest.mark.parametrize("case", sorted(fakeroot.CASES.iterdir()), ids=lambda case: case.name)
def test_every_tree_has_an_outcome(case: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if case.name == "common":
        return
    root = tmp_path / "root"
    fakeroot.build(case, root)
    add_commands(root)
    cmdline = root / "proc/cmdline"
    words = cmdline.read_text(errors="replace").split() if cmdline.is_file() else []
    words = [word for word in words if not word.startswith(("overlayfs.upper", "overlayfs.reset"))]
    status = main(["render", "--root", str(root), "--cmdline", " ".join(words) or "overlayfs.mounts"])
    shown, said = capfd.readouterr()
    assert status in (0, 1, 3)
    assert "a bug of" not in said, said
    assert bool(shown) == (status != 3)
    assert said
    assert "python" not in shown.replace("without Python", "")


@pytest.mark.parametrize("name", ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10"])
def test_systemd_analyze_has_no_complaint(name: str, render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    arguments = build(name, root)
    assert render("--root", root, "--output", root, *arguments).returncode == 0
    units = root / "usr/lib/systemd/system"
    for where in ("run-buildroot-mounts-var.mount", "run-buildroot-mounts.mount"):
        # In place of fstab's.
        if not (units / where).exists():
            path = "/" + where[: -len(".mount")].replace("-", "/")
            (units / where).write_text(f"[Mount]\nWhat=LABEL=data\nWhere={path}\nType=ext4\n")
    # The build machine has what the image has.
    complaints = [line for line in verify(units) if "is not executable" not in line]
    assert complaints == []


CONTEXT = "system_u:system_r:init_t:s0"


@pytest.mark.parametrize("config", ["", "SELINUX=disabled\n", "# x\nSELINUX=enforcing\nSELINUXTYPE=default\n"])
@pytest.mark.parametrize("context", ["", CONTEXT])
def test_an_image_with_selinux_gets_labels_and_the_context_that_is_asked_for(
    config: str, context: str, render: Render, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    arguments = build("01", root)
    (root / "etc/selinux").mkdir(parents=True)
    (root / "etc/selinux/config").write_text(config)
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/chcon").touch()
    asked = [f"--selinux-context={context}"] if context else []
    result = render("--root", root, *arguments, *asked)
    assert result.returncode == 0, result.stderr
    on = "enforcing" in config or bool(context)
    lines = result.stdout.splitlines()
    names = " ".join(f"/run/buildroot/mounts/var/{name}" for name in ("lower", "upper", "work"))
    assert (f'ExecStart=-/usr/bin/chcon --reference="/var" {names}' in lines) is on
    assert (f"SELinuxContext=-{context}" in lines) is bool(context)
    assert ("--selinux-context=" in result.stderr) is (on and not context)


def test_a_context_that_is_none_is_refused(render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("01", root)
    result = render("--root", root, "--selinux-context=init_t")
    assert (result.returncode, result.stdout) == (3, "")
    assert "--selinux-context=init_t: not USER:ROLE:TYPE" in result.stderr

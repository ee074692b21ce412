# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""In which domain an overlay is mounted, under policies with which that of PID 1, of mount or of neither is of use."""

import errno
import os

import pytest

from overlay_generator import selinux
from overlay_generator.found import Mounter

INIT, MOUNT, GENERATOR = "system_u:system_r:init_t:s0", "system_u:system_r:mount_t:s0", "u:r:systemd_generator_t"
VAR, PROGRAM = "system_u:object_r:var_t:s0", "system_u:object_r:mount_exec_t:s0"
BITS = {
    name: number
    for number, name in enumerate(
        dict.fromkeys((*selinux._DIRECTORY, *selinux._FILE, "execute", "execute_no_trans")), start=1
    )
}


class Policy:
    """selinuxfs under a policy: who may do everything in /var, and may PID 1 run mount as itself."""

    def __init__(
        self, serve: "tuple[str, ...]", runs: bool = True, enforcing: bool = True, permissive: "tuple[str, ...]" = ()
    ) -> None:
        self.serve, self.runs, self.enforcing, self.permissive = serve, runs, enforcing, permissive
        self.refuses = False
        self.files = {"/proc/1/attr/current": INIT + "\0", "/proc/self/attr/prev": INIT}

    def read(self, path: str) -> bytes:
        if path in self.files:
            return self.files[path].encode()
        name = path.rpartition("/")[2]
        if self.refuses:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if name == "enforce":
            return b"1" if self.enforcing else b"0"
        if name == "index":
            return {"file": b"6", "dir": b"7", "process": b"2"}[path.split("/")[-2]]
        if name in BITS:
            return str(BITS[name]).encode()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def label(self, path: str) -> str:
        return PROGRAM if path == selinux.MOUNT else VAR

    def ask(self, name: str, question: str) -> str:
        if self.refuses:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        source, target, _, *wanted = question.split()
        if name == "create":
            assert (source, target) == (INIT, PROGRAM)
            return MOUNT
        may = self.runs if target == PROGRAM else source in self.serve
        flags = 1 if source in self.permissive else 0
        return f"{wanted[0] if may else '0'} ffffffff 0 ffffffff 1 {flags:x}"


def found(policy: Policy, monkeypatch: pytest.MonkeyPatch, environ: "dict[str, str] | None" = None) -> "Mounter | None":
    monkeypatch.setattr(selinux, "_read", policy.read)
    monkeypatch.setattr(selinux, "_ask", policy.ask)
    monkeypatch.setattr(selinux, "read_label", policy.label)
    return selinux.find_mounter(environ or {}, ["/var"])


@pytest.mark.parametrize(("policy", "expected"), [
    # Fedora's: mount_t is unconfined, PID 1 is not.
    (Policy((MOUNT,)), Mounter("")),
    # The reference policy, asked by somebody who may ask.
    (Policy((INIT,)), Mounter(INIT)),
    # The reference policy with the module of packaging/selinux, by which mount_t is of use as well.
    (Policy((INIT, MOUNT)), Mounter("")),
    (Policy((), permissive=(MOUNT,)), Mounter("")),
    (Policy((INIT,), runs=False), Mounter("", "mount_t and init_t may not write var_t")),
    (Policy(()), Mounter("", "mount_t and init_t may not write var_t")),
    # In permissive mode denials are only logged.
    (Policy((), enforcing=False), Mounter("")),
])  # fmt: skip
def test_who_may_mount_for_everybody(policy: Policy, expected: Mounter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(policy, monkeypatch) == expected


def test_where_nothing_may_be_asked_it_is_the_domain_of_pid_1(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy((INIT,))
    policy.refuses = True
    assert found(policy, monkeypatch) == Mounter(INIT)


@pytest.mark.parametrize("environ", [{}, {"SYSTEMD_SCOPE": "system"}])
@pytest.mark.parametrize("name", ["kernel\0", "unconfined\n", "/usr/bin/man (enforce)\n", "_", "", "a:b", ":::"])
def test_without_a_policy_and_with_another_module_nobody_is_asked(
    name: str, environ: "dict[str, str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy(())
    policy.files = {"/proc/1/attr/current": name, "/proc/self/attr/prev": name}
    assert found(policy, monkeypatch, environ) is None


# The reference policy shows PID 1's own label to no generator, and asking for it is a line in the log.
def test_a_generator_is_told_by_whom_it_was_started_and_a_person_looks_at_pid_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Policy((), runs=True)
    policy.refuses = True
    policy.files = {"/proc/1/attr/current": INIT, "/proc/self/attr/prev": "a:b:shell_t"}
    assert found(policy, monkeypatch) == Mounter(INIT)
    assert found(policy, monkeypatch, {"SYSTEMD_SCOPE": "system"}) == Mounter("a:b:shell_t")


@pytest.mark.parametrize(("policy", "fault"), [
    (Policy((INIT,)), ""),
    (Policy((INIT,), runs=False), "init_t may not run /bin/mount (mount_exec_t) as itself"),
    (Policy((MOUNT,)), "init_t may not write var_t"),
])  # fmt: skip
def test_what_prepare_looks_at_again(policy: Policy, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found(policy, monkeypatch)
    assert selinux.find_fault(INIT, [VAR]) == fault


def test_an_answer_that_makes_no_sense_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy((INIT,))
    monkeypatch.setattr(policy, "ask", lambda *_: "rubbish")
    assert found(policy, monkeypatch) == Mounter(INIT)

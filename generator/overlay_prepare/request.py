# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arguments of the prepare program, as the units give them. Pure."""

_KEYS = (
    "--mount", "--type", "--fallback", "--reset", "--policy", "--direct", "--verify", "--adapt", "--flags",
    "--mounter", "--notify", "--rollback", "--commit",
)  # fmt: skip


class Request:
    """What to prepare where. `wanted` is fstab's type, `fallback` the options of a tmpfs or "".

    `reset`: start with an empty upper layer. `policy` is what an update does to it, `direct` are the paths that are
    passed through. `verify`: only report that the overlay came up read-only. `adapt`: memory was planned, and what is
    mounted decides; `flags` are then the mount flags of the overlay, each with a comma after it. `mounter` is the
    SELinux context that the overlay will be mounted in, "" for the usual one. `notify`: a unit fails if memory takes
    the place of a disk that only prepare has seen. `rollback` is no, yes, or hold: neither freeze nor step back at this
    boot; `commit` is good, next-update, manual, or a time in seconds.
    """

    def __init__(
        self,
        where: str,
        backing: str,
        mount: str,
        wanted: str = "",
        fallback: str = "",
        reset: bool = False,
        policy: str = "keep",
        direct: "tuple[str, ...]" = (),
        verify: bool = False,
        adapt: bool = False,
        flags: str = "",
        mounter: str = "",
        notify: bool = True,
        rollback: str = "no",
        commit: str = "good",
    ) -> None:
        self.where = where
        self.backing = backing
        self.mount = mount
        self.wanted = wanted
        self.fallback = fallback
        self.reset = reset
        self.policy = policy
        self.direct = direct
        self.verify = verify
        self.adapt = adapt
        self.flags = flags
        self.mounter = mounter
        self.notify = notify
        self.rollback = rollback
        self.commit = commit

    @property
    def name(self) -> str:
        """The flat name of the directory."""
        return self.backing.rpartition("/")[2]


def parse(arguments: "list[str]") -> Request:
    """The request in `--mount=POINT [--type=TYPE] [--fallback=OPTIONS] [--reset=yes] [--policy=WORD]
    [--direct=PATH]... [--verify=yes] [--adapt=yes] [--flags=FLAGS] [--mounter=CONTEXT] [--notify=notice]
    [--rollback=yes|hold] [--commit=WORD]
    DIRECTORY BACKING`. Raises ValueError.
    """
    if len(arguments) < 3:
        raise ValueError("too few arguments")
    options: dict[str, str] = {}
    direct = []
    for word in arguments[:-2]:
        key, equals, value = word.partition("=")
        if key not in _KEYS or not equals:
            raise ValueError(f"{word}: not known")
        options[key] = value
        if key == "--direct":
            direct.append(value)
    if "--mount" not in options:
        raise ValueError("--mount= is missing")
    return Request(
        arguments[-2],
        arguments[-1],
        options["--mount"],
        options.get("--type", ""),
        options.get("--fallback", ""),
        options.get("--reset") == "yes",
        options.get("--policy", "keep"),
        tuple(direct),
        options.get("--verify") == "yes",
        options.get("--adapt") == "yes",
        options.get("--flags", ""),
        options.get("--mounter", ""),
        options.get("--notify", "fail") == "fail",
        options.get("--rollback", "no"),
        options.get("--commit", "good"),
    )

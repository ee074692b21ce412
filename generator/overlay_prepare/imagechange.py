"""What others are told of a change of the image: loaded only in the boot that has found one.

A file NAME.changed in the state directory, whose lines a shell can read, so that a migration is a unit with
ConditionPathExists= and Before= the application. And systemd's own mark that all was done for this image goes from the
upper layer: ConditionNeedsUpdate= (systemd.unit(5)) compares times, which reproducible images have all alike, and which
are those of the past where an older image boots.
"""

from overlay_prepare.folder import Folder
from overlay_prepare.report import STATE, write

CHANGED = "changed"
_UPDATED = ".updated"
_UPDATABLE = ("/var", "/etc")
_PLAIN = "._:+~-"


def forget_updated(where: str, backing: Folder) -> None:
    """Let all services with ConditionNeedsUpdate= run once more for `where`, by the upper layer. Raises OSError."""
    upper = backing.descend("upper") if where in _UPDATABLE else None
    if upper and upper.find_kind(_UPDATED) not in ("", "d"):
        upper.remove_file(_UPDATED)


def tell(name: str, old: str, new: str) -> None:
    """Leave word of the step from the image of `old` to that of `new`, texts of identify(). Raises OSError."""
    before, now = _read_names(old), _read_names(new)
    fields = {"FROM_ID": before.get("IMAGE_ID", ""), "TO_ID": now.get("IMAGE_ID", "")}
    fields["FROM_VERSION"], fields["TO_VERSION"] = _find_version(before), _find_version(now)
    fields["STEP_BACK"] = judge_step(fields["FROM_VERSION"], fields["TO_VERSION"])
    write(STATE, f"{name}.{CHANGED}", "".join(f"{key}={_quote(value)}\n" for key, value in fields.items()))


def judge_step(old: str, new: str) -> str:
    """yes if the version `new` is older than `old`, no if it is not, unknown where one of them has none. Pure.

    Compared by runs of digits and of other characters, as strverscmp(3) and the version format of the UAPI group do.
    """
    if not old or not new:
        return "unknown"
    return "yes" if _split(new) < _split(old) else "no"


def _split(version: str) -> "list[tuple[int, int, str]]":
    parts: list[tuple[int, int, str]] = []
    run = ""
    for character in version + "\0":
        digit = character.isascii() and character.isdigit()
        if run and digit != run[-1].isdigit():
            # A tilde sorts before the end, as in Debian's versions and the UAPI group's.
            rank = 1 if run[0].isdigit() else -1 if run[0] == "~" else 0
            parts.append((rank, int(run) if rank == 1 else 0, "" if rank == 1 else run))
            run = ""
        run += character
    return [*parts, (0, 0, "")]


def _read_names(identity: str) -> "dict[str, str]":
    pairs = (line.partition("=") for line in identity.split("\n"))
    return {key: value.strip("\"'") for key, equals, value in pairs if equals}


def _find_version(names: "dict[str, str]") -> str:
    return names.get("IMAGE_VERSION", "") or names.get("BUILD_ID", "")


def _quote(value: str) -> str:
    """`value` between quotes, of what means the same to every reader: the note of the old image is from the disk."""
    text = "".join(c if c.isascii() and (c.isalnum() or c in _PLAIN) else "_" for c in value)
    return f'"{text[:200]}"'

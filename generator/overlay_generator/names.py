# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names made from paths: of units, as systemd-escape(1) has them, and of backing directories. Pure."""

BACKING_ROOT = "/run/buildroot/mounts"
# Beside it; nobody mounts a disk there, and no unit of the owner knows it.
VOLATILE_ROOT = "/run/buildroot/volatile"

# Units, and directories, of software that keeps overlays of its own, see engines.py.
ENGINES = (
    "docker.service", "snap.docker.dockerd.service", "containerd.service", "podman.service", "podman.socket",
    "crio.service", "k3s.service", "k3s-agent.service", "rke2-server.service", "rke2-agent.service",
)  # fmt: skip
OVERLAID = ("/var/lib/extensions.mutable",)

# Units of systemd 257 that get a private /var/tmp before local-fs.target and don't wait for a mount there: they fail if
# the image has no /var/tmp. All other units wait already (seen in boots where prepare took 5 s, 247 to 262).
EARLY_UNITS = ("systemd-oomd.service", "systemd-resolved.service")

# systemd's VALID_CHARS without "-" and "\" (src/basic/unit-name.c); ":" is not ours: overlayfs splits at it.
_LITERAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_LONGEST_NAME = 255
LONGEST_OPTION = 255  # bytes of one option's value in fsconfig(2), which mount(8) uses from util-linux 2.39 on


def normalise(path: str) -> str:
    """`path` without doubled slashes, `.` components and a slash at the end; `..` stays."""
    if "//" not in path and "/." not in path and not path.endswith("/"):
        return path
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def is_below(path: str, top: str) -> bool:
    """True if `path` lies below `top`, and is not `top`; both normalised."""
    return path != top and path.startswith("/" if top == "/" else top + "/")


def ancestors(path: str) -> "list[str]":
    """The directories above the normalised absolute `path`, nearest first, without `/`."""
    above = []
    end = path.rfind("/")
    while end > 0:
        path = path[:end]
        above.append(path)
        end = path.rfind("/")
    return above


def parent_of(path: str) -> str:
    """The directory that holds the normalised absolute `path`."""
    return path[: path.rfind("/")] or "/"


def escape_path(path: str) -> str:
    """The normalised absolute `path` as `systemd-escape --path` prints it (systemd.unit(5))."""
    if path == "/":
        return "-"
    escaped = ""
    for character in path[1:]:
        if character == "/":
            escaped += "-"
        elif (character in _LITERAL or character == ":") and not (character == "." and not escaped):
            escaped += character
        else:
            escaped += "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
    return escaped


def mount_unit(path: str) -> str:
    """The name of the mount unit for `path`."""
    return escape_path(path) + ".mount"


def backing_name(path: str) -> str:
    """A flat name for `path` that no other path has, of characters that are special to none of its parsers.

    `/` becomes `-`, letters, digits and `.` stay, `_` is doubled, and every other byte becomes `_` and two
    hexadecimal digits. Not systemd's escape: its backslashes do not survive the parsers of fstab, unit
    files and overlayfs.
    """
    name = ""
    for character in path[1:]:
        if character == "/":
            name += "-"
        elif character == "_":
            name += "__"
        elif character in _LITERAL:
            name += character
        else:
            name += "".join(f"_{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
    return name


def backing_path(path: str, root: str = BACKING_ROOT) -> str:
    """The backing directory of `path`, below BACKING_ROOT or VOLATILE_ROOT."""
    return f"{root}/{backing_name(path)}"


def spell_lower(path: str, rollback: str) -> str:
    """The value of lowerdir= for the backing directory `path`: with Rollback= there is a layer above the image's, which
    prepare makes, and which is empty unless an update has frozen one.
    """
    return f"{path}/lower" if rollback == "no" else f"{path}/frozen/upper:{path}/lower"


def unflatten(name: str) -> str:
    """The path that backing_name() made `name` of. Raises ValueError if it can't have made it."""
    data = b""
    position = 0
    while position < len(name):
        character = name[position]
        if character == "-":
            data += b"/"
        elif character == "_" and name[position + 1 : position + 2] == "_":
            data += b"_"
            position += 1
        elif character == "_":
            digits = name[position + 1 : position + 3]
            if len(digits) != 2 or not digits.isalnum():
                raise ValueError(name)
            data += bytes.fromhex(digits)
            position += 2
        else:
            data += character.encode()
        position += 1
    return "/" + data.decode("utf-8", "surrogateescape")


def prepare_unit(path: str) -> str:
    """The name of the service that prepares the layers for `path`."""
    return f"prepare-{backing_name(path)}-overlay.service"


def failure_mark(path: str) -> str:
    """The file that says that the layers for `path` could not be prepared, until a daemon-reload or a soft reboot.

    PID 1 empties its directory then; nobody has to make that, as units of ours are in it.
    """
    return f"/run/systemd/generator/{backing_name(path)}-overlay.failed"


def fallback_unit(mount: str) -> str:
    """The name of the service that puts a tmpfs at the mount point `mount` where its disk is missing."""
    return f"fallback-{escape_path(mount)}.service"


def unit_names(path: str) -> "tuple[str, str, str]":
    """The units of `path` that an administrator may have masked or replaced: mount, prepare, backing."""
    return mount_unit(path), prepare_unit(path), mount_unit(backing_path(path))


def verify_unit(path: str) -> str:
    """The name of the service that tells if the overlay on `path` came up read-only."""
    return f"verify-{backing_name(path)}-overlay.service"


def unkept_unit(path: str) -> str:
    """The name of the service that fails where what is written to `path` is not kept, or can't be written."""
    return f"overlay-not-persistent@{backing_name(path)}.service"


def missing_unit(path: str) -> str:
    """The name of the service that fails where `path` was to be overlaid, and could not be."""
    return f"overlay-missing@{backing_name(path)}.service"


def escape_line(path: str) -> str:
    """`path` as one line of a text file; unescape_line() reads it back."""
    return path.replace("\\", "\\\\").replace("\n", "\\n")


def unescape_line(text: str) -> str:
    """The path that escape_line() wrote as `text`."""
    # Pairs first, so that an escaped backslash before an n stays what it is.
    return "\\".join(part.replace("\\n", "\n") for part in text.split("\\\\")) if "\\" in text else text


def can_be_value(text: str) -> bool:
    """True if a unit file can hold `text` as the rest of a line: it neither ends that line nor joins the next."""
    # A blank at the end is stripped, a backslash joins the next line (systemd.syntax(7)).
    return not text.endswith((" ", "\\")) and as_line(text) == text


def as_line(text: str) -> str:
    """`text` as one line of UTF-8. The callers have checked it before: this is the last line of defence."""
    return text if text.isprintable() else "".join("\ufffd" if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    """True for what is not text: the control characters C0 and C1, and bytes that are not UTF-8."""
    return ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) <= 0xDFFF


def find_fault(path: str) -> str:
    """Why no unit can be made for the normalised `path`, or ""."""
    if ".." in path.split("/"):
        return 'the path has a ".." component; write it without'
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        return "the path has a control character, which no unit file can hold"
    if any(0xD800 <= ord(character) <= 0xDFFF for character in path):
        return "the path is not UTF-8, which unit files must be"
    if not can_be_value(path):
        return "a path that ends in a blank or a backslash can't be written in a unit file"
    # fallback-X.service is the longest of the names that can be made for a path.
    if max(len(escape_path(backing_path(path))) + len("fallback-.service"), len(mount_unit(path))) > _LONGEST_NAME:
        return f"the path is too long: a unit name has at most {_LONGEST_NAME} characters"
    return ""


def quote_value(text: str) -> str:
    """`text` as the value of a setting in which specifiers are replaced."""
    return as_line(text).replace("%", "%%")


def quote_word(text: str) -> str:
    """`text` as one word of ExecStart=."""
    text = as_line(text).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if not text or any(character in text for character in " '\";\\") else text


def quote_paths(*paths: str) -> str:
    """`paths` as the value of a setting that is a list of them."""
    words = (as_line(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") for path in paths)
    return " ".join(f'"{word}"' if any(character in word for character in " '\"\\") else word for word in words)

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel command line, by the rules of systemd's src/basic/proc-cmdline.c (kernel-command-line(7)). Pure."""

from overlay_generator.model import FstabEntry, Problem, Request
from overlay_generator.names import mangle_unit, normalise

DEFAULT_MOUNTS = ("/var",)

_TRUE = frozenset(("1", "yes", "y", "true", "t", "on"))
_FALSE = frozenset(("0", "no", "n", "false", "f", "off"))
_SEPARATORS = " \t\r\n"
_UNESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " ", "\\": "\\"}


def split_words(text: str) -> "list[str]":
    """The words of a command line: quotes may open anywhere and need not be closed, backslashes are literal.

    Text with NUL bytes is the argument vector of a container's PID 1: each argument is one word.
    """
    if "\0" in text:
        return [word for word in text.split("\0") if word]
    # The newline at the end is not part of a word, even if a quote was left open.
    text = text.rstrip("\n")
    words: list[str] = []
    word: str | None = None
    quote = ""
    for character in text:
        if quote:
            if character == quote:
                quote = ""
            else:
                word = (word or "") + character
        elif character in "\"'":
            quote = character
            word = word or ""
        elif character in _SEPARATORS:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    if word is not None:
        words.append(word)
    return words


def parse_boolean(text: str) -> "bool | None":
    """True, False, or None if `text` is not a boolean (parse_boolean() in systemd's src/basic/parse-util.c)."""
    text = text.lower()
    return True if text in _TRUE else False if text in _FALSE else None


def read_request(words: "list[str]", source: str, configured: "tuple[str, ...]" = ()) -> Request:
    """What `words` ask for; `configured` are the directories that a plain yes means, /var where there are none.

    A word with the prefix `rd.` is the initrd's, and no key of ours has it.
    """
    default = configured or DEFAULT_MOUNTS
    mounts: tuple[str, ...] = ()
    wrong: list[Problem] = []
    unknown: list[Problem] = []
    masked: list[str] = []
    volatile = ""
    read_fstab = True
    entries: list[FstabEntry] = []
    luks: list[str] = []
    in_memory = False
    reset: tuple[str, ...] = ()
    keep_newer = False
    wrong_upper: list[Problem] = []
    wrong_reset: list[Problem] = []
    wrong_rollback: list[Problem] = []
    listing = ""
    for word in words:
        key, equals, value = word.partition("=")
        if listing and not equals and word.startswith(("/", ",/")):
            # There is a blank in a list, and what follows it is another word.
            meant = f"{listing.rstrip(',')},{word.lstrip(',')}"
            unknown.append(
                Problem(f'"{word}" is not part of the list before the blank, and was ignored; write {meant}', source)
            )
        listing = word if key.replace("-", "_") in ("overlayfs.mounts", "overlayfs.reset") and value else ""
        # "fstab", "systemd.volatile" and "systemd.*-extra" are compared exactly, as fstab-generator does.
        if key == "fstab":
            wanted = parse_boolean(value) if equals else True
            read_fstab = read_fstab if wanted is None else wanted
        elif key == "systemd.volatile":
            volatile = _read_volatile(value if equals else "yes", volatile)
        elif key == "systemd.mount-extra":
            entries.extend(_read_mount_extra(value, source))
        elif key == "systemd.swap-extra":
            entries.extend(_read_swap_extra(value, source))
        elif key == "luks" or key.startswith("luks."):
            luks.append(word)
        elif key == "systemd.mask" and value:
            masked.append(mangle_unit(value, ".service"))
        elif key.replace("-", "_") == "overlayfs.mounts":
            # The last one wins, and only its errors count.
            mounts, wrong = _read_mounts(value if equals else "yes", source, default)
        elif key.replace("-", "_") == "overlayfs.upper":
            in_memory = value == "volatile"
            text = f"overlayfs.upper={value}: the only value is volatile; the upper layers stay as they are"
            wrong_upper = [] if in_memory else [Problem(text, source)]
        elif key.replace("-", "_") == "overlayfs.reset":
            reset, wrong_reset = _read_reset(value if equals else "yes", source)
        elif key.replace("-", "_") == "overlayfs.rollback":
            keep_newer, wrong_rollback = _read_rollback(value if equals else "yes", source)
        elif key.startswith("overlayfs."):
            unknown.append(Problem(f"{key} is not a key of this version, and was ignored", source))
    problems = (*wrong, *wrong_upper, *wrong_reset, *wrong_rollback, *unknown)
    return Request(
        source, mounts, problems, tuple(masked), volatile, read_fstab, tuple(entries), in_memory, reset, keep_newer,
        tuple(luks),
    )  # fmt: skip


def _read_mounts(value: str, source: str, default: "tuple[str, ...]") -> "tuple[tuple[str, ...], list[Problem]]":
    wanted = parse_boolean(value)
    if wanted is not None:
        return (default if wanted else ()), []
    parts = [part for part in value.split(",") if part]
    paths = dict.fromkeys(normalise(part) for part in parts if part.startswith("/"))
    if not paths:
        # Somebody asked for something writable: a device with the usual /var can be reached and mended.
        text = f"overlayfs.mounts={value}: neither yes, no, nor absolute paths; it was taken as yes"
        return default, [Problem(text, source)]
    wrong = [part for part in parts if not part.startswith("/")]
    return tuple(paths), [
        Problem(
            f'overlayfs.mounts: "{part}" is not an absolute path, and was ignored'
            + (f"; write {part.strip()}" if part.strip().startswith("/") else ""),
            source,
        )
        for part in wrong
    ]


def _read_reset(value: str, source: str) -> "tuple[tuple[str, ...], list[Problem]]":
    wanted = parse_boolean(value)
    if wanted is not None:
        return (("/",) if wanted else ()), []
    parts = [part for part in value.split(",") if part]
    if not parts or not all(part.startswith("/") and normalise(part) != "/" for part in parts):
        # What can't be undone is done only where there is no doubt.
        return (), [Problem(f"overlayfs.reset={value}: neither yes, no, nor absolute paths; nothing is reset", source)]
    return tuple(normalise(part) for part in parts), []


def _read_rollback(value: str, source: str) -> "tuple[bool, list[Problem]]":
    """True if the newer data are to be kept in this boot, and what is wrong with `value`."""
    wanted = parse_boolean(value)
    if wanted is None:
        # What nobody has asked for is not done: the configuration's word stands.
        text = f"overlayfs.rollback={value}: neither yes nor no; what the configuration says is done"
        return False, [Problem(text, source)]
    return not wanted, []


def _read_volatile(value: str, before: str) -> str:
    wanted = parse_boolean(value)
    if wanted is not None:
        return "yes" if wanted else ""
    return value if value in ("state", "overlay") else before


def _read_mount_extra(value: str, source: str) -> "list[FstabEntry]":
    """The entry of systemd.mount-extra=WHAT:WHERE[:FSTYPE[:OPTIONS]], none if systemd refuses the value too."""
    fields = [_unescape(field) for field in value.split(":")]
    if not 2 <= len(fields) <= 4:
        return []
    what, where, fstype, options = fields + [""] * (4 - len(fields))
    return [FstabEntry(what, normalise(where), fstype, options, f"{source} (systemd.mount-extra=)")]


def _read_swap_extra(value: str, source: str) -> "list[FstabEntry]":
    """The entry of systemd.swap-extra=WHAT[:OPTIONS], none if systemd refuses the value too."""
    fields = [_unescape(field) for field in value.split(":")]
    if not fields[0] or len(fields) > 2:
        return []
    what, options = [*fields, ""][:2]
    return [FstabEntry(what, "", "swap", options, f"{source} (systemd.swap-extra=)")]


def _unescape(text: str) -> str:
    """`text` with C escapes resolved (cunescape() in systemd's src/basic/escape.c); an unknown one stays as it is."""
    if "\\" not in text:
        return text
    data = b""
    position = 0
    while position < len(text):
        character = text[position]
        after = text[position + 1 : position + 4]
        if character == "\\" and after[:1] == "x" and _is_number(after[1:], 16, 2):
            data += bytes((int(after[1:], 16),))
            position += 4
        elif character == "\\" and _is_number(after, 8, 3) and after[0] < "4":
            data += bytes((int(after, 8),))
            position += 4
        elif character == "\\" and after[:1] in _UNESCAPED:
            data += _UNESCAPED[after[0]].encode()
            position += 2
        else:
            data += character.encode("utf-8", "surrogateescape")
            position += 1
    return data.decode("utf-8", "surrogateescape")


def _is_number(text: str, base: int, length: int) -> bool:
    digits = "0123456789abcdefABCDEF" if base == 16 else "01234567"
    return len(text) == length and all(character in digits for character in text)

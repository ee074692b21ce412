# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user who renames while root reads: a process that exchanges pairs of names in a layer, again and again.

    python3 swapper.py DIRECTORY OUTSIDE COUNT

OUTSIDE has a file `secret` and a directory `secrets` with `f` in it. The file COUNT, of 8 bytes, has the number of
exchanges so far. In DIRECTORY there are files and directories that become links to those, FIFOs, other files, and back.
Says "ready" when all of it is there, then exchanges until it is killed.
"""

import ctypes
import mmap
import os
import sys

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
SECRET = b"SECRET-OF-ROOT"


def main(directory: str, outside: str, count: str) -> None:
    """Does not return."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(count, "r+b") as stream:
        counter = mmap.mmap(stream.fileno(), 8)
    os.chdir(directory)
    pairs = fill(outside)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    done = 0
    while True:
        for one, other in pairs:
            if library.renameat2(-100, one.encode(), -100, other.encode(), _EXCHANGE):
                raise OSError(ctypes.get_errno(), one)
        done += len(pairs)
        counter[:] = done.to_bytes(8, "little")


def fill(outside: str) -> "list[tuple[str, str]]":
    """Make the pairs in the working directory."""
    pairs = []
    for number in range(6):
        file, directory = f"a{number}", f"b{number}"
        with open(file, "w", encoding="ascii") as stream:
            stream.write("mine\n" * (number + 1))
        os.mkdir(directory)
        for name in ("f", "g"):
            with open(f"{directory}/{name}", "w", encoding="ascii") as stream:
                stream.write("mine\n")
        os.mkdir(f"{directory}/deep")
        os.symlink(f"{outside}/secret", f"z{file}")
        os.symlink(f"{outside}/secrets", f"z{directory}")
        os.mkfifo(f"zf{number}")
        with open(f"f{number}", "w", encoding="ascii") as stream:
            stream.write("mine\n")
        os.mkdir(f"zd{number}")
        with open(f"d{number}", "w", encoding="ascii") as stream:
            stream.write("mine\n")
        pairs += [(file, f"z{file}"), (directory, f"z{directory}"), (f"f{number}", f"zf{number}")]
        pairs += [(f"d{number}", f"zd{number}")]
    return pairs


if __name__ == "__main__":
    main(*sys.argv[1:])

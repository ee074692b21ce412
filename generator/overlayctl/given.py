# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a person gives on the command line, looked at before anything is done with it."""

import os
import stat

from overlayctl.errors import Failure


def require_directory(path: str, name: str, missing: str = "not a directory") -> None:
    """Raise Failure unless `path`, called `name` in messages, is a directory.

    What can't be looked at is not said to be missing.
    """
    try:
        there = stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except PermissionError as error:
        raise Failure(f"{name}: {error.strerror}{'; try it as root' if os.geteuid() else ''}") from error
    except OSError as error:
        raise Failure(f"{name}: {error.strerror}") from error
    if not there:
        raise Failure(f"{name}: {missing}")

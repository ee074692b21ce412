"""Makes the directories of an overlay in its backing directory, those that are there stay as they are."""

from overlay_prepare.files import make_directory
from overlay_prepare.report import ERROR, STATE, WARNING, describe, say
from overlay_prepare.request import Request
from overlay_prepare.upper import make_upper


def make_layers(request: Request) -> None:
    """Make lower, work, upper and what is passed through. Raises OSError."""
    for name in ("lower", "work"):
        make_directory(f"{request.backing}/{name}", 0o700)
    for warning in make_upper(request.where, request.backing):
        say(WARNING, warning)
    for path in request.direct:
        _make_direct(request, path)


def _make_direct(request: Request, path: str) -> None:
    """Make what is bound at `path`; where that fails, what is written there stays in the upper layer."""
    from overlay_prepare import passthrough

    try:
        make_directory(STATE, 0o755)
        passthrough.link(request.name, request.backing, STATE)
        passthrough.make_direct(request.where, request.backing, path)
    except (OSError, RecursionError) as error:
        say(ERROR, f"{path} is not passed through: {describe(error)}")

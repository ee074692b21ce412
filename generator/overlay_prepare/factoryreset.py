"""Asks for a reset of every persistent overlay at the next boot: run by overlay-generator-factory-reset.service."""

from overlay_generator.names import BACKING_ROOT
from overlay_prepare import stamp
from overlay_prepare.files import find_kind, list_entries, write_whole
from overlay_prepare.report import ERROR, NOTICE, STATE, describe, say
from overlay_prepare.resetrequest import NAME, Staged, spell


def stage_all() -> int:
    """The exit status: 0, or 1 if one of them could not be asked for."""
    status = 0
    for entry in list_entries(STATE):
        backing = f"{BACKING_ROOT}/{entry.name[:-5]}"
        # Without an image's stamp it is in memory, and empty at the next boot anyway.
        if not entry.name.endswith(".json") or not find_kind(f"{backing}/{stamp.NAME}"):
            continue
        try:
            write_whole(f"{backing}/{NAME}", spell(Staged(whole=True)), 0o600, durable=True)
            say(NOTICE, f"{backing}: reset at the next boot")
        except OSError as error:
            say(ERROR, f"{backing} will not be reset: {describe(error)}")
            status = 1
    return status

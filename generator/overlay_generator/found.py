"""What is found on few machines only: SELinux, and what has overlays of its own. Values as in model.py. Pure."""

from overlay_generator.model import Value


class Mounter(Value):
    """Where SELinux has a say: the context that mount(8) gets for the overlays, "" for the one it has anyway.

    `fault`: why no overlay would be of use to anybody, or "".
    """

    __slots__ = ("context", "fault")

    def __init__(self, context: str, fault: str = "") -> None:
        self.context = context
        self.fault = fault


class Storage(Value):
    """A directory that the image keeps overlays of its own in, and the file `source` that tells of it.

    `effect` says what becomes of them on an overlay of ours; `fails`: nothing works there.
    """

    __slots__ = ("effect", "fails", "path", "source")

    def __init__(self, source: str, path: str, effect: str, fails: bool) -> None:
        self.source = source
        self.path = path
        self.effect = effect
        self.fails = fails

# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Software that keeps overlays of its own in /var, and what happens to these on an overlay of ours, as data.

The kernel refuses an overlay as the upper layer of another one. docker and podman were tried in boots of Debian trixie
(docker 26.1, podman 5.4; Linux 6.12), systemd-sysext as well (257); what others do is taken from their issue trackers
(containerd #2402, k3s #3266 and #19).
"""

from overlay_generator.found import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.look import Look
    from overlay_generator.model import Unit

_COPIES = "docker makes full copies there (vfs), of each layer and for each container"
_DOUBT = "the usual place of its storage is assumed"

# By the unit that a package brings: where it keeps its storage by default, what happens to that on an overlay, and
# whether nothing works there at all.
_ENGINES = {
    "docker.service": ("/var/lib/docker", _COPIES, False),
    "snap.docker.dockerd.service": ("/var/snap/docker/common/var-lib-docker", _COPIES, False),
    "containerd.service": ("/var/lib/containerd", "containerd can unpack no image there", True),
    "podman.service": ("/var/lib/containers", "podman fails there, from its second command on", True),
    "podman.socket": ("/var/lib/containers", "podman fails there, from its second command on", True),
    "crio.service": ("/var/lib/containers", "CRI-O fails there", True),
    "k3s.service": ("/var/lib/rancher", "k3s does not start there", True),
    "k3s-agent.service": ("/var/lib/rancher", "k3s does not start there", True),
    "rke2-server.service": ("/var/lib/rancher", "RKE2 does not start there", True),
    "rke2-agent.service": ("/var/lib/rancher", "RKE2 does not start there", True),
}
# Where their configuration names another place: the files, the one that takes precedence first, and the key.
_SETTINGS = {
    "docker.service": (("/etc/docker/daemon.json",), "data-root"),
    "snap.docker.dockerd.service": (("/var/snap/docker/current/config/daemon.json",), "data-root"),
    "containerd.service": (("/etc/containerd/config.toml",), "root"),
    "podman.service": (("/etc/containers/storage.conf", "/usr/share/containers/storage.conf"), "graphroot"),
    "k3s.service": (("/etc/rancher/k3s/config.yaml",), "data-dir"),
    "rke2-server.service": (("/etc/rancher/rke2/config.yaml",), "data-dir"),
}
_AS = {
    "podman.socket": "podman.service", "crio.service": "podman.service", "k3s-agent.service": "k3s.service",
    "rke2-agent.service": "rke2-server.service",
}  # fmt: skip
# Recognised by the directory itself, which nobody makes for another reason (systemd-sysext(8)).
_DIRECTORIES = {"/var/lib/extensions.mutable": ("systemd-sysext --mutable= can't merge there", True)}


def find_storage(look: "Look", units: "dict[str, Unit]") -> "tuple[Storage, ...]":
    """The directories that software of the image keeps overlays in; `units` are those of ENGINES that are there."""
    found: dict[str, Storage] = {}
    for name, (usual, effect, fails) in _ENGINES.items():
        unit = units.get(name)
        if unit is not None and unit.kind != "mask":
            path = _find_path(look, _AS.get(name, name)) or usual
            # Once, if a service and its socket have the same storage.
            found.setdefault(path, Storage(unit.path, path, effect, fails))
    for path, (effect, fails) in _DIRECTORIES.items():
        if look.exists(path, False):
            found[path] = Storage(path, path, effect, fails)
    return tuple(found.values())


def _find_path(look: "Look", name: str) -> str:
    """Where the settings of an engine put its storage, "" if they don't say."""
    paths, key = _SETTINGS[name]
    for path in paths:
        text = look.read(path, _DOUBT)
        value = find_value((text or b"").decode("utf-8", "replace"), key)
        if value:
            return value
    return ""


def find_value(text: str, key: str) -> str:
    """The absolute path that JSON, TOML or YAML gives the key `key`, outside of any section; "" if there is none.

    Their parsers would cost more than all the rest, and all three write a single path the same way, except for what
    is between key and value.
    """
    for line in text.replace("{", "\n").replace(",", "\n").replace("}", "\n").split("\n"):
        line = line.strip()
        name = line.lstrip("\"'")
        if not name.startswith(key):
            continue
        rest = name[len(key) :].lstrip("\"'").lstrip()
        if rest[:1] in ("=", ":"):
            value = rest[1:].split(" #")[0].strip().strip("\"'")
            if value.startswith("/"):
                return value.rstrip("/")
    return ""

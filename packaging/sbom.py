#!/usr/bin/python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the bill of materials of an archive of the sources: CycloneDX in JSON, on standard output.

It lists what is in the archive, and what that needs in an image: nothing else is packed with it. The same archive gives
the same bytes. Usage: sbom.py ARCHIVE SECONDS, the time of the commit. `make dist` calls it; it needs
cyclonedx-python-lib.
"""

import configparser
import hashlib
import re
import sys
import tarfile
from datetime import datetime, timezone
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.contact import OrganizationalContact, OrganizationalEntity
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

# What has to be in an image, and which part needs it. The maker of the image chooses the versions: there are none here.
NEEDED = {
    "generator": ["python", "systemd", "util-linux", "linux"],
    "overlayctl": ["python"],
}


def make_bom(archive: Path, seconds: int) -> Bom:
    """The bill of `archive`, made at `seconds` since the epoch. Raises OSError, tarfile.TarError, KeyError."""
    config = configparser.ConfigParser()
    config.read_string(_read(archive, "setup.cfg"))
    code = _read(archive, "generator/overlay_generator/__init__.py")
    version = re.findall(r'^__version__ = "(.*)"$', code, re.MULTILINE)[0]
    licence = config["metadata"]["license"]
    name = config["metadata"]["name"]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()

    whole = Component(
        type=ComponentType.APPLICATION,
        name=name,
        version=version,
        description=config["metadata"]["description"],
        bom_ref=name,
        purl=PackageURL("generic", None, name, version),
        licenses=[DisjunctiveLicense(id=licence)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        supplier=_read_maintainers(archive),
    )
    bom = Bom(version=1, serial_number=uuid5(NAMESPACE_URL, f"sha256:{digest}"))
    bom.metadata.timestamp = datetime.fromtimestamp(seconds, timezone.utc)
    bom.metadata.component = whole

    parts = [
        Component(
            type=ComponentType.APPLICATION,
            name=part,
            version=version,
            bom_ref=f"{name}/{part}",
            licenses=[DisjunctiveLicense(id=licence)],
        )
        for part in NEEDED
    ]
    optional = config["options.extras_require"]["machine"].split()
    wanted = {
        other: Component(
            type=ComponentType.OPERATING_SYSTEM if other == "linux" else ComponentType.APPLICATION,
            name=other,
            bom_ref=other,
            scope=ComponentScope.REQUIRED,
        )
        for others in NEEDED.values()
        for other in others
    }
    for other in optional:
        wanted[other] = Component(
            type=ComponentType.LIBRARY,
            name=other,
            bom_ref=other,
            purl=PackageURL("pypi", None, other),
            scope=ComponentScope.OPTIONAL,
        )
    bom.components = [*parts, *wanted.values()]
    bom.register_dependency(whole, parts)
    for part in parts:
        of = [*NEEDED[part.name], *(optional if part.name == "overlayctl" else [])]
        bom.register_dependency(part, [wanted[other] for other in of])
    # The operator's command imports what the generator is made of.
    bom.register_dependency(parts[1], [parts[0]])
    return bom


def _read(archive: Path, name: str) -> str:
    """A file of the archive, and not of the tree around this one, which may have changes."""
    with tarfile.open(archive) as opened:
        top = opened.getnames()[0].partition("/")[0]
        file = opened.extractfile(f"{top}/{name}")
        return file.read().decode() if file else ""


def _read_maintainers(archive: Path) -> OrganizationalEntity:
    name, address = re.findall(r"^(.+) <(.+)>$", _read(archive, "MAINTAINERS"), re.MULTILINE)[0]
    return OrganizationalEntity(name=name, contacts=[OrganizationalContact(name=name, email=address)])


if __name__ == "__main__":
    bill = make_bom(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(JsonV1Dot6(bill).output_as_string(indent=2) + "\n")

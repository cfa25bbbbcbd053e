"""The size of each package that a deployment uploads."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PackageSize:
    """Bytes of one function or layer, zipped as it is uploaded and unpacked as it is loaded."""

    package: str
    zipped: int
    unpacked: int


def measure(build: Path) -> list[PackageSize]:
    """Measure every package of the build in `build`."""
    return [_size(folder) for folder in sorted(build.iterdir()) if folder.is_dir()]


def _size(folder: Path) -> PackageSize:
    archive = io.BytesIO()
    files = [file for file in folder.rglob("*") if file.is_file()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, file.relative_to(folder))
    return PackageSize(folder.name, len(archive.getvalue()), sum(file.stat().st_size for file in files))

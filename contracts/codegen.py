"""The files that are generated from the registry, and the archive of those that they replace.

* `schemas/<type>/<version>.json`: the current schema
* `schemas/<type>/samples/<version>.<name>.json`: messages as this release writes them
* `schemas/<type>/earlier/<n>/…`: the replaced files, never to be changed
* `asyncapi.yaml`: who sends which message to whom

`earlier` has earlier samples, which today's readers must still accept, and the schemas of earlier readers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from contracts import asyncapi
from contracts.http_baseline import ROOT
from contracts.registry import ENVELOPE, MESSAGES, Message
from contracts.samples import readable, samples
from contracts.schemas import breaking_changes, same, schema_of

ALL = (ENVELOPE, *MESSAGES)


def generated(messages: Sequence[Message] = ALL) -> dict[str, str]:
    """Every file by its path, as generated."""
    files = {_schema_path(each): json.dumps(schema_of(each), indent=2) + "\n" for each in messages}
    latest = {message.type: message.version for message in messages}
    for (kind, name), text in samples().items():
        files[f"schemas/{kind}/samples/{latest[kind]}.{name}.json"] = readable(text)
    return files | {"asyncapi.yaml": asyncapi.text()}


def committed(root: Path = ROOT) -> dict[str, str]:
    """Every file by its path, as committed; without those of earlier releases."""
    paths = [path for path in (root / "schemas").glob("*/**/*.json") if "earlier" not in path.parts]
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in [*sorted(paths), root / "asyncapi.yaml"]
        if path.exists()
    }


def previous(kind: str, root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """The replaced files of a message type: the original path, and the current one."""
    for path in sorted((root / "schemas" / kind / "earlier").glob("*/**/*.json")):
        place, kept = path.relative_to(root).parts[:2], path.relative_to(root).parts[4:]
        yield "/".join((*place, *kept)), path


def breaking(messages: Sequence[Message] = ALL, root: Path = ROOT) -> list[str]:
    """The changes that break readers or writers of the committed schemas."""
    found = []
    known = {_schema_path(message): message for message in messages}
    for path in sorted((root / "schemas").glob("*/*.json")):
        message = known.get(str(path.relative_to(root)))
        if message is None:
            found.append(f"{path.parent.name} {path.stem} was removed")
        else:
            old = json.loads(path.read_text(encoding="utf-8"))
            found += breaking_changes(message, old, schema_of(message))
    return found


def write(messages: Sequence[Message] = ALL, root: Path = ROOT) -> list[str]:
    """Write the changed files; return their paths. Keeps replaced files, unless only descriptions differ."""
    old, new = committed(root), generated(messages)
    changed = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    places: dict[Path, Path] = {}
    for path in changed:
        if path in old and path.startswith("schemas/") and not _same(path, old[path], new.get(path)):
            folder = root / "schemas" / Path(path).parts[1]
            place = places.setdefault(folder, _next_place(folder))
            kept = place / (root / path).relative_to(folder)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / path, kept)
        if path in new:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(new[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return changed


def _schema_path(message: Message) -> str:
    return f"schemas/{message.type}/{message.version}.json"


def _same(path: str, old: str, new: str | None) -> bool:
    """Whether two schemas differ only in descriptions; samples must be identical."""
    return new is not None and "/samples/" not in path and same(json.loads(old), json.loads(new))


def _next_place(folder: Path) -> Path:
    taken = [int(path.name) for path in (folder / "earlier").glob("*")]
    return folder / "earlier" / str(max(taken, default=0) + 1)

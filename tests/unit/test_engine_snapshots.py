"""Snapshots of the local engine's data, and what a crash loses."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from local import engine
from local.engine import EngineError, recovered
from local.engine_snapshots import (
    SnapshotError,
    Snapshots,
    interval,
    load,
    lost_seconds,
    read_header,
    snapshot_of,
    write,
)

CONTENT = {"orders": {("000000000000", "us-east-1", "order-1"): {"status": "SHIPPED", "size": b"\x00\xff"}}}
HOUR_AGO = time.time() - 3600


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def save(state: Path, content: Any = CONTENT, saved_at: float = HOUR_AGO, *, clean: bool = False) -> None:
    write(state, content, engine="1.0", port=4566, saved_at=saved_at, clean=clean)


def change(state: Path, at: float) -> None:
    (state / "changed").touch()
    os.utime(state / "changed", (at, at))


def test_a_snapshot_is_read_as_it_was_written(state: Path) -> None:
    save(state)
    found = load(state, "1.0")
    assert found is not None
    header, content = found
    assert content == CONTENT
    assert (header.port, header.saved_at, header.clean) == (4566, HOUR_AGO, False)
    assert snapshot_of(state).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("seconds", "quiet", "expected"),
    [
        (0.1, 0.0, 2.0),
        (1.0, 0.0, 10.0),
        (9.0, 0.0, 30.0),
        (9.0, 1.0, 2.0),
    ],
)
def test_while_changes_go_on_a_snapshot_is_taken_as_often_as_it_can_be_had_in_a_tenth_of_the_time(
    seconds: float, quiet: float, expected: float
) -> None:
    assert interval(seconds, quiet=quiet) == expected


def test_there_may_be_no_snapshot(state: Path) -> None:
    assert read_header(state) is None
    assert load(state, "1.0") is None
    assert recovered(state.parent) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-1],
        lambda whole: whole[:40],
        lambda whole: whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :],
        lambda whole: b"\x00" * len(whole),
        lambda whole: b"",
        lambda whole: b"[]\n",
        lambda whole: b'{"format": 1}\n',
    ],
)
def test_a_damaged_snapshot_is_rejected(state: Path, damage: Any) -> None:
    save(state)
    snapshot_of(state).write_bytes(damage(snapshot_of(state).read_bytes()))
    with pytest.raises(SnapshotError):
        load(state, "1.0")


def test_a_snapshot_of_another_release_is_rejected_with_both_named(state: Path) -> None:
    save(state)
    with pytest.raises(SnapshotError, match=r"1\.0.*2\.0"):
        load(state, "2.0")


def test_a_snapshot_of_another_format_is_rejected_before_the_engine_starts(state: Path) -> None:
    snapshot_of(state).write_bytes(b'{"format": 99}\n')
    with pytest.raises(EngineError, match=r"does not read its format.*FRESH=1"):
        recovered(state.parent)


def test_a_failed_write_keeps_the_previous_snapshot(state: Path) -> None:
    save(state)
    with pytest.raises(Exception, match="pickle"):
        save(state, lambda: None)
    assert load(state, "1.0") is not None


def test_a_stopped_engine_keeps_all_changes(state: Path) -> None:
    change(state, HOUR_AGO - 1)
    save(state, clean=True)
    header = read_header(state)
    assert header is not None
    assert lost_seconds(state, header) == 0
    printed = recovered(state.parent)
    assert printed is not None
    assert "continues with its data" in printed
    assert "lost" not in printed


def test_a_crash_loses_the_changes_after_the_snapshot(state: Path) -> None:
    save(state)
    change(state, HOUR_AGO + 4)
    printed = recovered(state.parent)
    assert printed is not None
    assert "of the last 4 s before it was killed are lost" in printed


def snapshots_of(state: Path, **more: Any) -> Snapshots:
    settings: dict[str, Any] = {"gather": lambda: CONTENT, "may_save": lambda: True} | more
    return Snapshots(state, engine="1.0", port=4566, **settings)


async def run_until(snapshots: Snapshots, done: Any, seconds: float = 20) -> bool:
    running = asyncio.create_task(snapshots.run())
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    running.cancel()
    return bool(done())


def test_a_change_is_saved_soon_and_once(state: Path) -> None:
    # given
    save(state, {})
    snapshots = snapshots_of(state)
    snapshots.note_change()
    # when, then
    assert asyncio.run(run_until(snapshots, lambda: snapshots.pauses))
    found = load(state, "1.0")
    assert found is not None
    assert found[1] == CONTENT
    assert lost_seconds(state, found[0]) == 0
    assert len(snapshots.pauses) == 1


def test_nothing_is_saved_without_changes_or_while_saving_is_blocked(state: Path) -> None:
    save(state)
    idle, busy = snapshots_of(state), snapshots_of(state, may_save=lambda: False)
    busy.note_change()
    for snapshots in (idle, busy):
        assert not asyncio.run(run_until(snapshots, lambda each=snapshots: each.pauses, seconds=0.8))
    header = read_header(state)
    assert header is not None
    assert lost_seconds(state, header) > 3000, "the time of the change is on disk"


def test_a_failed_snapshot_is_retried(state: Path) -> None:
    # given: content that can't be written at first
    broken = state / "broken"
    broken.touch()

    def gather() -> object:
        return (lambda: None) if broken.exists() else CONTENT

    save(state, {})
    snapshots = snapshots_of(state, gather=gather)
    snapshots.note_change()
    # when
    asyncio.run(run_until(snapshots, lambda: snapshots.pauses))
    before = load(state, "1.0")
    broken.unlink()
    asyncio.run(run_until(snapshots, lambda: len(snapshots.pauses) > 1))
    after = load(state, "1.0")
    # then
    assert before is not None
    assert before[1] == {}
    assert after is not None
    assert after[1] == CONTENT


def test_an_engines_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    engine.write_private(tmp_path / "secret.json", {"secret": "x"})
    assert (tmp_path / "secret.json").stat().st_mode & 0o777 == 0o600

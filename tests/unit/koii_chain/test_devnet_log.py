from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koii_chain.devnet.log import MAGIC, RECORD_MAX_BYTES, RecordLog
from orca_protocol.errors import InvalidError, UnavailableError

RECORDS = [b"one", b"two" * 100, b"\0" * 50]


def written(path: Path, records: list[bytes] = RECORDS) -> bytes:
    log = RecordLog(path)
    for record in records:
        log.append(record)
    log.close()
    return path.read_bytes()


def read(path: Path) -> list[bytes]:
    log = RecordLog(path)
    try:
        return list(log.replay())
    finally:
        log.close()


def test_what_was_appended_is_replayed(tmp_path: Path) -> None:
    written(tmp_path / "log")
    assert read(tmp_path / "log") == RECORDS


@given(cut=st.integers(1, 400))
def test_a_torn_tail_is_cut_off_and_the_rest_stays(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    whole = written(path)
    path.write_bytes(whole[: max(len(whole) - cut, 0)])
    kept = read(path)
    assert kept == RECORDS[: len(kept)]
    log = RecordLog(path)
    log.append(b"after")
    log.close()
    assert read(path) == [*kept, b"after"]


def test_damage_before_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = bytearray(written(path))
    whole[len(MAGIC) + 21] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InvalidError, match="devnet_log_damaged"):
        RecordLog(path)


def test_another_file_is_not_taken_for_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"something else entirely")
    with pytest.raises(InvalidError, match="not a devnet log"):
        RecordLog(tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"something else entirely"


def test_two_writers_are_refused(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "log")
    with pytest.raises(UnavailableError, match="devnet_in_use"):
        RecordLog(tmp_path / "log")
    log.close()


def test_records_have_a_bound(tmp_path: Path) -> None:
    log = RecordLog(tmp_path / "log")
    for record in (b"", b"x" * (RECORD_MAX_BYTES + 1)):
        with pytest.raises(RuntimeError):
            log.append(record)
    log.close()

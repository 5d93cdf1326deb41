"""The manifest: Parquet there and back, paths that stay inside, faults named."""

from __future__ import annotations

import polars
import pytest
from fusion_eval.errors import DataError
from fusion_eval.schemas import ManifestRow, counts_by_status, read_manifest, write_manifest
from pydantic import ValidationError


def _row(**fields) -> ManifestRow:
    return ManifestRow(**({"id": "a", "path": "audio/a.flac", "split": "test", "status": "ok"} | fields))


def test_rows_read_back_as_they_were_written_and_in_their_order(tmp_path):
    rows = [
        _row(id="b", seconds=8.5, sample_rate=32000, sha256="0" * 64, licence="CC0"),
        _row(id="a", status="corrupt", reason="not audio"),
    ]
    write_manifest(tmp_path / "manifest.parquet", rows)
    assert read_manifest(tmp_path / "manifest.parquet") == rows


def test_an_empty_manifest_can_be_written(tmp_path):
    write_manifest(tmp_path / "m.parquet", [])
    assert read_manifest(tmp_path / "m.parquet") == []


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_manifest(tmp_path / name, [_row(), _row(id="b")])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_every_status_is_counted_also_with_zero():
    assert counts_by_status([_row(), _row(status="missing"), _row()]) == {
        "ok": 2,
        "missing": 1,
        "corrupt": 0,
        "too_short": 0,
    }


@pytest.mark.parametrize(
    "path",
    ["/audio/a.wav", "../a.wav", "audio/../../a.wav", "..", "C:\\a.wav", "\\\\host\\a.wav", "a\\..\\b", "a\0b", ""],
)
def test_a_path_that_could_leave_the_root_is_refused(path):
    with pytest.raises(ValidationError):
        _row(path=path)


@pytest.mark.parametrize("path", ["a.wav", "audio/a b.wav", "audio/..a.wav", "audio/naïve.wav"])
def test_a_path_inside_the_root_is_taken(path):
    assert _row(path=path).path == path


def test_an_id_that_occurs_twice_is_refused_when_writing_and_reading(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(DataError, match="id 'a' occurs twice"):
        write_manifest(path, [_row(), _row()])
    assert not path.exists()
    write_manifest(path, [_row(), _row(id="b")])
    frame = polars.read_parquet(path).with_columns(polars.lit("a").alias("id"))
    frame.write_parquet(path, metadata={"schema": "fusion.manifest/1"})
    with pytest.raises(DataError, match="id 'a' occurs twice"):
        read_manifest(path)


def test_faults_name_the_file_and_the_field(tmp_path):
    path = tmp_path / "m.parquet"
    with pytest.raises(DataError, match="does not exist"):
        read_manifest(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="no readable Parquet"):
        read_manifest(path)
    frame = polars.DataFrame({"id": ["a"], "path": ["../a"], "split": ["test"], "status": ["ok"]})
    frame.write_parquet(path)
    with pytest.raises(DataError, match="schema is 'None'"):
        read_manifest(path)
    frame.write_parquet(path, metadata={"schema": "fusion.manifest/1"})
    with pytest.raises(DataError, match=r"row 0: field path: '\.\./a' leaves"):
        read_manifest(path)

"""Values computed elsewhere join by id, and what does not fit is refused by name."""

from __future__ import annotations

import pytest
from fusion_eval.columns import read_columns
from fusion_eval.errors import ConfigError, DataError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("\ufefffname,p,word\nb,0.25,x\na,0.5,y\nc,nan,z\n", encoding="utf-8")
    return path


def test_rows_join_by_id_whatever_their_order(table):
    assert read_columns([f"error_probability={table}:p"], ["a", "b"]) == {"error_probability": [0.5, 0.25]}


def test_without_an_id_column_the_order_of_the_references_holds(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("p\n1\n2\n")
    assert read_columns([f"spice={path}:p"], ["x", "y"]) == {"spice": [1.0, 2.0]}
    with pytest.raises(DataError, match="2 rows for 3 clips"):
        read_columns([f"spice={path}:p"], ["x", "y", "z"])


@pytest.mark.parametrize(
    ("column", "ids", "message"),
    [
        ("q", ["a"], "no column 'q' .*fname, p, word"),
        ("word", ["a"], "'y' is no finite number"),
        ("p", ["c"], "'nan' is no finite number"),
        ("p", ["a", "d"], "1 clips have no row, 'd'"),
    ],
)
def test_bad_columns_are_refused(table, column, ids, message):
    with pytest.raises(DataError, match=message):
        read_columns([f"spice={table}:{column}"], ids)


def test_bad_options_and_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="NAME=FILE:COLUMN"):
        read_columns(["spice"], ["a"])
    with pytest.raises(DataError, match="does not exist"):
        read_columns([f"spice={tmp_path}/none.csv:p"], ["a"])
    twice = tmp_path / "twice.csv"
    twice.write_text("id,p\na,1\na,2\n")
    with pytest.raises(DataError, match="names a clip twice"):
        read_columns([f"spice={twice}:p"], ["a"])

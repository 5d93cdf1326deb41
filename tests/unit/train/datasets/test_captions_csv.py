"""Tables of captions: what the field's files hold, and what is refused by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fusion_core.errors import DataError
from fusion_train.datasets.captions_csv import normalise_caption, read_table, read_text

HEAD = "audiocap_id,youtube_id,start_time,caption"


def captions(path: Path, text: str, mend_breaks: bool = False) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    path.write_bytes(text.encode())
    table = read_table(path, mend_breaks)
    return [table.captions(row) for row in table.rows], table.mended


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_captions_that_a_line_break_cut_are_joined(tmp_path: Path, line_end: str) -> None:
    """As rows 8791, 18295 and 29501 of AudioCaps 2.0's train.csv: the rest stands in the first column of a row."""
    lines = [
        HEAD,
        "39899,IAosP90cdsE,30,an engine chugging loudly with muffled",
        "speech in the background",
        '7994,2Cnv0FADwfo,30,"gurgling, in water."',
        "a dog is whimpering,,,",
        "48170,NWZK4Mm3aNc,0,heavy wind followed by a loud",
        "bang, then",
        "silence",
        "",
        "1,aaaaaaaaaaa,0,rain",
    ]
    found, mended = captions(tmp_path / "train.csv", line_end.join(lines) + line_end, mend_breaks=True)
    assert found == [
        ("an engine chugging loudly with muffled speech in the background",),
        ("gurgling, in water. a dog is whimpering",),
        ("heavy wind followed by a loud bang, then silence",),
        ("rain",),
    ]
    assert [sentence.split(":")[0] for sentence in mended] == [f"train.csv, line {line}" for line in (3, 5, 7, 8)]


def test_breaks_inside_quotes_and_marks_at_the_start_are_read(tmp_path: Path) -> None:
    found, mended = captions(tmp_path / "a.csv", f'\ufeff{HEAD}\n1,aaaaaaaaaaa,0,"a dog\r\n barks,  twice "\n', True)
    assert found == [("a dog barks, twice",)]
    assert mended == ()


def test_several_captions_a_row_keep_the_order_of_their_numbers(tmp_path: Path) -> None:
    found, _ = captions(tmp_path / "a.csv", "file_name,caption_10,caption_2,caption_1\nx.wav,ten,two,\n")
    assert found == [("two", "ten")]
    found, _ = captions(tmp_path / "a.jsonl", '{"file_name": "x.wav", "captions": ["one", "two\\nthree"]}\n\n')
    assert found == [("one", "two three")]
    found, _ = captions(tmp_path / "b.jsonl", '{"file_name": "x.wav", "text": "one"}')
    assert found == [("one",)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,caption\na.wav,rain, wind\n", r"a.csv, line 2: 3 fields for 2 columns; quote"),
        ("a.csv", b"path,caption\na.wav,\xe9\n", "in UTF-8"),
        ("a.jsonl", '{"path": 1}\n{"path": ', r"a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", r"line 1: not a JSON object"),
    ],
)
def test_malformed_tables_are_refused_by_line(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_another_encoding_is_read_where_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("Crépitement".encode("latin-1"))
    assert read_text(tmp_path / "a.csv", fallback="latin-1") == "Crépitement"
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path / "absent.csv")


def test_white_space_is_single_and_letters_are_composed() -> None:
    assert normalise_caption(" Rain\u2028falls\r\n on\ta  cafe\u0301 ") == "Rain falls on a caf\u00e9"

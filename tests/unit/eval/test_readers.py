"""Files of captions of every kind are recognised by their content; what is not is refused with a sentence."""

from __future__ import annotations

import csv
import io
import json

import pytest
from fusion_eval.errors import DataError
from fusion_eval.readers import Origin, read_predictions, read_references, read_together
from fusion_eval.scoring import score
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def write(tmp_path):
    """Return a function that writes text or JSON to a file and returns its path."""

    def write(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_bytes(text.encode())
        return path

    return write


def _texts(references):
    return {item.id: list(item.references) for item in references.items}


def _captions(predictions):
    return {item.id: item.caption for item in predictions.items}


def test_our_files_are_read_as_they_are(tmp_path, predictions, references):
    predictions.write(tmp_path / "p.json")
    references.write(tmp_path / "r.json")
    said = []
    assert read_predictions(tmp_path / "p.json", notify=said.append) == predictions
    assert read_references(tmp_path / "r.json", notify=said.append) == references
    assert said == []
    with pytest.raises(DataError, match=r"is a 'fusion.references/1' file; give one of 'fusion.predictions/1' here"):
        read_predictions(tmp_path / "r.json")


def test_audiocaps_groups_rows_of_a_clip(write):
    path = write(
        "test.csv",
        'audiocap_id,youtube_id,start_time,caption\n1,aa,30,A dog barks\n2,bb,0,"Rain, heavy"\n3,aa,30,Barking\n',
    )
    said = []
    references = read_references(path, notify=said.append)
    assert _texts(references) == {"aa": ["A dog barks", "Barking"], "bb": ["Rain, heavy"]}
    assert (references.dataset, references.split) == ("audiocaps", "test")
    assert said == [f"{path}: AudioCaps CSV, 3 references of 2 clips."]


def test_clips_of_one_video_stay_apart(write):
    path = write("x.csv", "audiocap_id,youtube_id,start_time,caption\n1,aa,30,A dog\n2,aa,60,A cat\n3,bb,0,Rain\n")
    assert _texts(read_references(path)) == {"aa_30": ["A dog"], "aa_60": ["A cat"], "bb": ["Rain"]}


@pytest.mark.parametrize("identifier", ["file_name", "fname", "id"])
def test_clotho_has_five_columns_or_one(write, identifier):
    path = write("clotho_evaluation.csv", f"{identifier},caption_1,caption_10,caption_2\nx.wav,a,c,b\ny.wav,d,,\n")
    references = read_references(path)
    assert _texts(references) == {"x.wav": ["a", "b", "c"], "y.wav": ["d"]}
    assert references.split == "evaluation"
    one = write("one.csv", f"{identifier},caption\nx.wav,a dog\ny.wav,\n")
    assert _captions(read_predictions(one)) == {"x.wav": "a dog", "y.wav": ""}
    with pytest.raises(DataError, match=r"clip 'y.wav' has no reference"):
        read_references(one)
    with pytest.raises(DataError, match="holds no predictions that are recognised"):
        read_predictions(path)


def test_aac_metrics_holds_both_sides(write):
    path = write(
        "example.csv",
        "caption_predicted,caption_1,caption_2,mult_captions_predicted_1,mult_captions_predicted_2\n"
        "a dog barks,a dog,dogs bark,a dog barks,a dog\nrain,it rains,,rain falls,\n",
    )
    said = []
    (predictions,), references = read_together([path], path, said.append)
    assert _captions(predictions) == {"1": "a dog barks", "2": "rain"}
    assert [[one.text for one in item.candidates] for item in predictions.items] == [
        ["a dog barks", "a dog"],
        ["rain falls"],
    ]
    assert _texts(references) == {"1": ["a dog", "dogs bark"], "2": ["it rains"]}
    assert "without an id column, so that rows are numbered" in said[0]
    assert set(score(predictions, references, ["bleu_1", "self_bleu"]).metrics) >= {"bleu_1", "self_bleu"}
    named = write("named.csv", "file_name,caption_predicted\nx.wav,a dog\n")
    assert _captions(read_predictions(named)) == {"x.wav": "a dog"}
    with pytest.raises(DataError, match="holds no references that are recognised"):
        read_references(named)


def test_coco_pairs_have_ids_that_are_numbers_or_texts(write):
    annotations = write(
        "captions_val.json",
        {
            "images": [{"id": 7}, {"id": "x"}],
            "annotations": [
                {"id": 1, "image_id": "x", "caption": "rain falls"},
                {"id": 2, "image_id": 7, "caption": "a dog"},
                {"id": 3, "image_id": 7, "caption": "a dog barks"},
            ],
        },
    )
    results = write("results.json", [{"image_id": 7, "caption": "dogs"}, {"image_id": "x", "caption": ""}])
    said = []
    (predictions,), references = read_together([results], annotations, said.append)
    assert _texts(references) == {"7": ["a dog", "a dog barks"], "x": ["rain falls"]}
    assert _captions(predictions) == {"7": "dogs", "x": ""}
    assert (predictions.dataset, predictions.split, predictions.system) == ("coco", "val", "results")
    assert [sentence.split(": ")[1] for sentence in said] == [
        "COCO annotations, 3 references of 2 clips.",
        "COCO results, captions of 2 clips.",
    ]


def test_files_that_do_not_name_their_split_take_it_from_one_that_does(write, tmp_path, predictions, references):
    predictions.write(tmp_path / "p.json")
    csv_references = write("refs.csv", "id,caption\na,A dog barks.\nb,Rain falls\n")
    csv_predictions = write("mine.csv", "id,caption\na,a dog\nb,rain\n")
    (ours, theirs), truth = read_together([tmp_path / "p.json", csv_predictions], csv_references)
    assert (truth.dataset, truth.split) == (theirs.dataset, theirs.split) == ("demo", "test")
    assert ours == predictions
    assert score(ours, truth, ["rouge_l"]).n == 2
    references.write(tmp_path / "r.json")
    (theirs,), truth = read_together([csv_predictions], tmp_path / "r.json")
    assert (truth, theirs.split) == (references, "test")
    given = read_references(csv_references, Origin("mine", "all"))
    assert (given.dataset, given.split) == ("mine", "all")


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbfid,caption\r\nx,"caf\xc3\xa9, ""loud""\r\nand near"\r\n',
        b'id,caption\nx,"caf\xc3\xa9, ""loud""\r\nand near"\n\n',
        b'caption,id\n"caf\xc3\xa9, ""loud""\r\nand near",x',
        b'id , caption\rx,"caf\xc3\xa9, ""loud""\r\nand near"\r',
    ],
)
def test_marks_line_ends_quotes_and_other_letters(write, content):
    path = write("x.csv", content)
    assert _captions(read_predictions(path)) == {"x": 'café, "loud"\r\nand near'}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip()),
        st.text(st.characters(exclude_categories=["Cs"])),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=50)
def test_whatever_a_csv_writer_writes_is_read(tmp_path_factory, captions):
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([["id", "caption"], *captions.items()])
    path = tmp_path_factory.mktemp("csv") / "p.csv"
    path.write_bytes(stream.getvalue().encode())
    assert _captions(read_predictions(path)) == captions


def test_a_caption_of_two_megabytes_is_read(write):
    limit = csv.field_size_limit()
    path = write("x.csv", "id,caption\nx," + "rain " * 400_000 + "\n")
    assert len(_captions(read_predictions(path))["x"]) == 2_000_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "", "is empty"),
        ("x.csv", "wav;text\nx;a dog\n", r"its columns are wav;text; wanted are caption_predicted, or one of id, "),
        ("x.csv", "id,caption\nx,a dog, barking\n", r"line 2: 3 fields for 2 columns; quote captions"),
        ("x.csv", 'id,caption\nx,"a dog\n', r"line 2: no CSV \(unexpected end of data\)"),
        ("x.csv", "id,caption,id\nx,a,b\n", "column 'id' is there more than once"),
        ("x.csv", "id,caption\n,a dog\n", r"clip '': field id: String should have at least 1 character"),
        ("x.csv", b"id,caption\nx,caf\xe9\n", r"not in UTF-8 \(byte 16\)"),
        ("x.json", "{", "not a JSON file, EOF"),
        ("x.json", {"results": []}, "it is an object with results; wanted is 'schema' of fusion.predictions/1"),
        ("x.json", [{"image_id": 1}], "entry 0: 'caption' is no text"),
        ("x.json", [{"image_id": 1.5, "caption": "a"}], "'image_id' of an entry is 1.5"),
        ("x.json", ["a dog"], "'image_id' of an entry is None"),
        ("x.json", '[{"image_id": 1, "caption": "\\ud800"}]', "not a JSON file, unexpected end of hex escape"),
        ("x.json", {"schema": "fusion.predictions/1", "dataset": "d"}, "field split is missing"),
    ],
)
def test_what_is_not_recognised_is_refused_with_a_sentence(write, name, content, message):
    with pytest.raises(DataError, match=message) as raised:
        read_predictions(write(name, content))
    assert "\n" not in str(raised.value)


def test_references_that_are_not_recognised_are_refused(write, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_references(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_references(tmp_path)
    with pytest.raises(DataError, match=r"it is a list; wanted is 'schema' of fusion.references/1, or COCO's"):
        read_references(write("x.json", [{"image_id": 1, "caption": "a"}]))
    annotations = {"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 1, "caption": "a"}]}
    with pytest.raises(DataError, match="clip '2' has no reference"):
        read_references(write("x.json", annotations))


def test_of_many_columns_the_first_are_named(write):
    path = write("x.csv", ",".join(f"c{number}" for number in range(40)) + "\n")
    with pytest.raises(DataError, match=r"its columns are c0, .*c11, …; wanted"):
        read_references(path)


@pytest.mark.shared
def test_the_files_of_the_field(shared):
    folder = shared / "data/aac"
    counts = {
        "audiocaps/train.csv": (49838, 49838),
        "audiocaps/val.csv": (495, 2475),
        "audiocaps/test.csv": (975, 4875),
        "audiocaps/test_957_wavcaps.csv": (957, 4785),
        "clotho/clotho_captions_development.csv": (3839, 19195),
        "clotho/clotho_captions_validation.csv": (1045, 5225),
        "clotho/clotho_captions_evaluation.csv": (1045, 5225),
    }
    for name, wanted in counts.items():
        items = read_references(folder / name).items
        assert (len(items), sum(len(item.references) for item in items)) == wanted
    for name in ("example_1.csv", "example_2.csv"):
        path = folder / "aac-metrics-examples" / name
        (predictions,), references = read_together([path], path)
        assert len(predictions.items) == len(references.items) > 100
    with pytest.raises(DataError, match="holds no predictions that are recognised: its columns are losses, preds"):
        read_predictions(folder / "conette/outputs_audiocaps_test.csv")

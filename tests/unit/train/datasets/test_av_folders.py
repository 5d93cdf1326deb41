"""Folders of videos that are there already: captions in a table, questions in MUSIC-AVQA's layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fusion_core.errors import DataError
from fusion_train.datasets.avqa import fill_places, read_entries
from fusion_train.datasets.registry import parse_options, prepare_dataset

pytest.importorskip("decord")
pytest.importorskip("av")


@pytest.fixture
def videos(tmp_path):
    """Two whole videos, one of them silent, and one that was cut off."""
    from fusion_encoders.video_writing import write_video

    folder = tmp_path / "videos"
    pixels = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    write_video(folder / "00000001.mp4", pixels, np.arange(8) / 4, np.zeros(32_000, np.float32), 16_000)
    write_video(folder / "nested" / "00000002.mp4", pixels, np.arange(8) / 4)
    whole = (folder / "00000001.mp4").read_bytes()
    (folder / "00000003.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def test_captioned_videos_keep_their_table_and_say_what_is_wrong(videos, tmp_path):
    table = "path,caption,split\n" + "".join(
        f"{path},{caption},{split}\n"
        for path, caption, split in (
            ("00000001.mp4", "a thing is seen", "train"),
            ("00000001.mp4", "a thing is heard", "train"),
            ("nested/00000002.mp4", "it is silent", "val"),
            ("00000003.mp4", "it is cut off", "test"),
            ("absent.mp4", "it is not there", "test"),
        )
    )
    (videos / "captions.csv").write_text(table)
    options = parse_options("av-captions", {"video_dir": videos})
    dataset = prepare_dataset("av-captions", options, tmp_path / "root")
    status = {row.id: (row.split, row.status) for row in dataset.manifest}
    assert status == {
        "00000001.mp4": ("train", "ok"),
        "nested/00000002.mp4": ("val", "ok"),
        "00000003.mp4": ("test", "corrupt"),
        "absent.mp4": ("test", "missing"),
    }
    assert dataset.references("train").items[0].references == ("a thing is seen", "a thing is heard")
    row = dataset.manifest[0]
    assert row.seconds == pytest.approx(2, abs=0.3)
    assert dataset.audio_path(row).samefile(videos / "00000001.mp4")
    assert "cut off" in next(row.reason for row in dataset.manifest if row.status == "corrupt")


def test_a_folder_without_a_table_is_refused(videos, tmp_path):
    with pytest.raises(DataError, match=r"3 videos there.*captions\.csv"):
        prepare_dataset("av-captions", parse_options("av-captions", {"video_dir": videos}), tmp_path / "root")
    with pytest.raises(DataError, match="--video-dir"):
        prepare_dataset("av-captions", parse_options("av-captions", {"video_dir": tmp_path / "no"}), tmp_path / "root")


def entry(number: int, video: str, **changes):
    """One question as MUSIC-AVQA's lists write it."""
    return {
        "video_id": video,
        "question_id": number,
        "type": '["Audio-Visual", "Location"]',
        "question_content": "Where is the <FL> <Object>?",
        "templ_values": '["first sounding", "flute"]',
        "question_deleted": 0,
        "anser": "left",
        **changes,
    }


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "json"
    folder.mkdir()
    counting = {"type": '["Visual", "Counting"]', "question_content": "How many are there?", "templ_values": "[]"}
    content = {
        "train": [
            entry(1, "00000001"),
            entry(2, "00000001", anser="right"),
            entry(3, "00000001", anser="right"),
            entry(4, "00000001", question_deleted=1),
            entry(5, "00000009", **counting, anser="two"),
        ],
        "val": [entry(6, "00000002", anser="middle")],
        "test": [entry(7, "00000003", type='["Audio", "Location"]')],
    }
    for split, items in content.items():
        (folder / f"avqa-{split}.json").write_text(json.dumps(items))
    return folder


def test_questions_in_music_avqas_layout(videos, lists, tmp_path):
    options = parse_options("avqa", {"video_dir": videos, "source": lists})
    dataset = prepare_dataset("avqa", options, tmp_path / "root")
    first, _, _, counted = dataset.questions("train").items
    assert first.text == "Where is the first sounding flute?"
    assert (first.kind, first.category, first.answer) == ("both", "location", "left")
    assert first.options == ("right", "left")  # the commonest answer of train first
    assert counted.kind == "sight"
    (added,) = dataset.questions("val").items
    assert added.options == ("right", "left", "middle")
    (heard,) = dataset.questions("test").items
    assert heard.kind == "sound"
    status = {row.id: row.status for row in dataset.manifest}
    assert status == {
        "train-00000001": "ok",
        "train-00000009": "missing",
        "val-00000002": "ok",
        "test-00000003": "corrupt",
    }
    assert not dataset.has_references("train")
    assert dataset.card.statistics["test_videos_in_train"] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "list of questions"),
        (json.dumps([entry(1, "v", templ_values="[]")]), "entry 0: .* 2 places and templ_values 0"),
        (json.dumps([entry(1, "v", type='["Smell", "Counting"]')]), "entry 0: type 'Smell'"),
        (json.dumps([{"video_id": "v"}]), "entry 0: 'type'"),
    ],
)
def test_a_malformed_list_is_named_with_its_entry(tmp_path, content, message):
    path = tmp_path / "avqa-train.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_entries(path)


def test_places_are_filled_in_their_order():
    assert fill_places("Is the <Object> on the <LR>?", ["cello", "left"]) == "Is the cello on the left?"

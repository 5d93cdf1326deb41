"""Probes as data sets: made, found again, locked, verified; LLaVA's list filtered and selected by a seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fusion_core.errors import ConfigError, DataError
from fusion_encoders.images import load_image, save_image
from fusion_train.datasets.llava_probe import LlavaProbeOptions
from fusion_train.datasets.registry import default_root, parse_options, prepare_dataset
from fusion_train.datasets.verify import verify
from fusion_train.retention_probe import load_probe
from PIL import Image


def options(**changes: object) -> object:
    return parse_options("visual-questions", {"questions": 12, "size": 32, "text_questions": False} | changes)


def test_visual_questions_are_made_once_and_mixed(tmp_path):
    root = tmp_path / "probe"
    dataset = prepare_dataset("visual-questions", options(), root)
    probe = load_probe(root)
    assert Counter(item.category for item in probe.items) == dict.fromkeys(
        ("count", "colour", "shape", "relation", "compare", "existence"), 2
    )
    assert len({item.cluster for item in probe.items}) == 12
    assert load_image(probe.image_path(probe.items[0])).shape == (3, 32, 32)
    assert dataset.card.statistics["probe_sha256"] == probe.sha256
    stamp = (root / "probe.jsonl").stat().st_mtime_ns
    prepare_dataset("visual-questions", options(), root)
    assert (root / "probe.jsonl").stat().st_mtime_ns == stamp
    assert verify(root).ok
    twin = prepare_dataset("visual-questions", options(), tmp_path / "twin")
    assert twin.card.manifest_sha256 == dataset.card.manifest_sha256


def test_the_default_probe_has_text_questions_too():
    defaults = parse_options("visual-questions", {})
    assert (defaults.questions, defaults.text_questions, defaults.size) == (830, True, 224)
    assert default_root("visual-questions", defaults) == Path("data/visual-questions")
    assert default_root("visual-questions", options()) != Path("data/visual-questions")


def test_a_locked_list_is_not_replaced(tmp_path):
    prepare_dataset("visual-questions", options(), tmp_path / "probe")
    with pytest.raises(ConfigError, match="name it anew"):
        prepare_dataset("visual-questions", options(seed=1), tmp_path / "probe")


def test_a_changed_list_or_image_is_found(tmp_path):
    root = tmp_path / "probe"
    prepare_dataset("visual-questions", options(), root)
    image = next((root / "images").glob("*.png"))
    kept = image.read_bytes()
    save_image(image, np.zeros((32, 32, 3), dtype=np.uint8))
    assert "not the one that was prepared" in verify(root).faults[0].reason
    with pytest.raises(DataError, match="changed after its list was locked"):
        load_probe(root)
    image.write_bytes(kept)
    lines = (root / "probe.jsonl").read_text().splitlines()
    (root / "probe.jsonl").write_text("\n".join(lines[1:]))
    with pytest.raises(DataError, match="changed after its list was locked"):
        load_probe(root)


def conversation(name: str, image: str | None, question: str, answer: str) -> dict:
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns} | ({"image": image} if image else {})


@pytest.fixture
def source(tmp_path) -> Path:
    """LLaVA's list with its images: 6 that pass the filter and 6 that do not."""
    (tmp_path / "pictures").mkdir()
    for index in range(9):
        pixels = np.full((20, 30, 3), 20 * index, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.jpg")
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "outside.jpg").write_bytes((tmp_path / "pictures" / "0.jpg").read_bytes())
    entries = [
        conversation("free", "0.jpg", "What is it?", "A dog"),
        conversation("said", "1.jpg", "Is it red?", "Yes"),
        conversation("choice", "2.jpg", "Which?\nA. dog\nB. cat", "B"),
        *(conversation(f"more-{index}", f"{index}.jpg", "What colour?", "grey") for index in (3, 4, 5)),
        conversation("twin", "0.jpg", "And now?", "A cat"),
        conversation("long", "6.jpg", "Tell me.", "It is a long story about a dog"),
        conversation("blind", None, "Who?", "me"),
        conversation("broken", "broken.jpg", "What?", "grey"),
        conversation("absent", "absent.jpg", "What?", "grey"),
        conversation("outside", "../outside.jpg", "What?", "grey"),
        {"id": "odd", "image": "7.jpg", "conversations": [{"from": "gpt", "value": "hello"}]},
    ]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(entries))
    return path


def selection(source: Path, **changes: object) -> LlavaProbeOptions:
    return LlavaProbeOptions(source=source, images=source.parent / "pictures", **({"count": 6} | changes))


def test_llava_list_is_filtered_and_locked(source, tmp_path):
    root = tmp_path / "probe"
    dataset = prepare_dataset("llava-probe", selection(source), root)
    items = {item.question_id.split(":")[0]: item for item in load_probe(root).items}
    assert set(items) - {"free", "twin"} == {"said", "choice", "more-3", "more-4", "more-5"}
    assert len(set(items) & {"free", "twin"}) == 1  # one question an image
    assert (items["said"].options, items["choice"].options, items["more-3"].options) == (("Yes", "No"), ("A", "B"), ())
    assert items["said"].text == "Is it red?"
    assert "training mix of LLaVA-1.5" in dataset.card.statistics["disclosure"]
    assert verify(root).ok
    with pytest.raises(ConfigError, match="locked"):
        prepare_dataset("llava-probe", selection(source, seed=1), root)


def test_llava_selection_does_not_depend_on_the_order_of_the_list(source, tmp_path):
    few = prepare_dataset("llava-probe", selection(source, count=3), tmp_path / "a").root
    source.write_text(json.dumps(json.loads(source.read_text())[::-1]))
    again = prepare_dataset("llava-probe", selection(source, count=3), tmp_path / "b").root
    assert (few / "probe.jsonl").read_bytes() == (again / "probe.jsonl").read_bytes()
    other = prepare_dataset("llava-probe", selection(source, count=3, seed=2), tmp_path / "c").root
    assert (few / "probe.jsonl").read_bytes() != (other / "probe.jsonl").read_bytes()


def test_llava_faults_are_named(source, tmp_path):
    with pytest.raises(DataError, match="6 questions pass the filter"):
        prepare_dataset("llava-probe", selection(source, count=7), tmp_path / "probe")
    source.write_text("{")
    with pytest.raises(DataError, match="LLaVA's list of conversations"):
        prepare_dataset("llava-probe", selection(source), tmp_path / "probe")
    with pytest.raises(DataError, match="does not exist"):
        prepare_dataset("llava-probe", selection(tmp_path / "none.json"), tmp_path / "probe")


def test_images_are_made_square_and_faults_are_one_sentence(tmp_path):
    Image.fromarray(np.full((10, 30, 3), 200, dtype=np.uint8)).save(tmp_path / "wide.png")
    pixels_3HW = load_image(tmp_path / "wide.png")
    assert pixels_3HW.shape == (3, 30, 30)
    assert pixels_3HW[:, 0, 0].tolist() == [122, 116, 104]
    assert pixels_3HW[:, 15, 15].tolist() == [200] * 3
    assert load_image(tmp_path / "wide.png", 8).shape == (3, 8, 8)
    (tmp_path / "cut.png").write_bytes((tmp_path / "wide.png").read_bytes()[:40])
    for name, said in (("cut.png", "cannot be read as an image"), ("none.png", "does not exist")):
        with pytest.raises(DataError, match=said):
            load_image(tmp_path / name)

"""Our tokeniser gives the tokens of the Java tokeniser that coco-caption runs, on every caption at hand."""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from fusion_eval.tokenize import REMOVED, tokenize

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")

WORDS = ["a", "dog", "Dog", "barks", "man", "I", "it", "he", "they", "is", "isn", "can", "do", "won", "café", "UFO"]
WORDS += ["tv", "U.S.", "p.m.", "etc", "mr.", "St.", "50", "3", "1990s", "man-made"]
SIGNS = [",", ".", ";", ":", "!", "?", "-", "--", "'", "''", '"', "/", "&", "(", ")", "%", "$", "#", "...", "n't", "'s"]


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    """Return a function from captions to the tokens that the Java tool gives."""
    try:
        jar = distribution("pycocoevalcap").locate_file("pycocoevalcap/tokenizer/stanford-corenlp-3.4.1.jar")
    except PackageNotFoundError:
        pytest.skip("pycocoevalcap, whose wheel holds the Java tokeniser, is not installed")

    def run(captions: list[str]) -> list[list[str]]:
        path = tmp_path_factory.mktemp("java") / "captions.txt"
        path.write_text("\n".join(captions) + "\n", encoding="utf-8")
        tool = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        output = subprocess.run([*tool, str(path)], capture_output=True, check=True, timeout=120).stdout
        lines = output.decode("utf-8").split("\n")[:-1]
        assert len(lines) == len(captions)
        return [" ".join(word for word in line.rstrip().split(" ") if word not in REMOVED).split() for line in lines]

    return run


def _captions(path: Path) -> list[str]:
    """Return the captions of a CSV file, each on one line."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    columns = [name for name in rows[0] if name.startswith("caption")]
    return [" ".join(row[name].splitlines()) for row in rows for name in columns]


def _differences(captions: list[str], tokens: list[list[str]]) -> list[str]:
    return [caption for caption, words in zip(captions, tokens, strict=True) if tokenize(caption) != words]


@pytest.mark.shared
def test_all_captions_of_audiocaps_and_clotho(java, shared):
    names = [f"audiocaps/{split}.csv" for split in ("train", "val", "test")] + ["audiocaps/test_957_wavcaps.csv"]
    names += [f"clotho/clotho_captions_{split}.csv" for split in ("development", "validation", "evaluation")]
    captions = [text for name in names for text in _captions(shared / "data/aac" / name)]
    assert len(captions) > 70_000
    assert _differences(captions, java(captions)) == []


def test_hard_strings(java):
    captions = [
        "shan't won't ain't can't've who'd've it'll",
        "more'n 'em ol' d'ye l'eau O'Brien jack-o'-lantern",
        "a.m.-p.m. u.s.-based e.g., i.e. Dr.Smith Mr. Jan. 5 no. 5 fig. 2",
        "U.S. The army. b. The dog p.m. It rains",
        "3.5 .5 5. 1,000.5 3:30pm 5' 10\" 20's '90s 1-800-555-1234 4x4 mp3",
        "50% $5 US$5 £5 #1 #tag @user a@b.com www.x.org http://x.org/a?b=c",
        "word;word word:word word|word word&word word+word word=word word*word word~word",
        "-pitched pitched- a--b a - b 10-year-old a-b.c-d a.b-c a,b-c",
        "[noise] {hiss} (dog) <tag> </b> << >> -> ( ( ) )",
        ":) ;) :( :D ^_^ <3 ?! !? !!! .. .... ,, ;;",
        "½ 2½ x² 20°C “hello” ‘hello’ «hello» don’t she’s – — … ♪ 😀 £ ¢ €5",
        "AT&T R&B r&b Q&A AC/DC w/ w/o 24/7 a//b under_score _under_ a\\b",
    ]
    assert _differences(captions, java(captions)) == []


def test_random_strings_nearly_always(java):
    """Nonsense such as «isn'they» may differ; of what could be in a caption, hardly anything may."""
    generator = random.Random(0)
    captions = [
        " ".join("".join(generator.choices(WORDS + SIGNS, k=generator.randint(1, 3))) for _ in range(4))
        for _ in range(5000)
    ]
    differences = _differences(captions, java(captions))
    assert len(differences) <= 50, differences

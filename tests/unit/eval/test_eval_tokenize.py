"""The tokeniser's rules, one example a rule; golden strings and all published captions are tested elsewhere."""

from __future__ import annotations

import pytest
from fusion_eval.tokenize import LONGEST_PIECE, REMOVED, tokenize, tokenize_all
from hypothesis import given
from hypothesis import strategies as st

# What CoreNLP 3.4.1 gives; tests/parity asks the tool itself about the same strings.
EXAMPLES = {
    "": "",
    "A dog barks, then a bird sings.": "a dog barks then a bird sings",
    "a man\nspeaks\r\nloudly\u2028now": "a man speaks loudly now",
    "the dog's bowl isn't full; they'll bark": "the dog 's bowl is n't full they 'll bark",
    "don’t stop she’s here": "do n't stop she 's here",
    "cannot Gonna gotta lemme wanna": "can not gon na got ta lem me wan na",
    "'tis the '90s, 'til rock 'n' roll": "'t is the '90s 'til rock 'n' roll",
    "o'clock ma'am y'all O’Brien c'mon": "o'clock ma'am y' all o’brien c'mon",
    "the dogs' barking (loud) [noise]": "the dogs barking -lrb- loud -rrb- -lsb- noise -rsb-",
    "etc. and St. John at 5 a.m. in the U.S. army": "etc. and st. john at 5 a.m. in the u.s. army",
    "no. 5 is no. good, fig. 2": "no. 5 is no good fig. 2",
    "point A. The man": "point a the man",
    "point A. dog": "point a. dog",
    "the U.S. The end": "the u.s. the end",
    "two-way radio 10-4 high--pitched": "two-way radio 10-4 high pitched",
    "and/or he/she 1/2 ½ cup": "and/or he/she 1/2 1/2 cup",
    "1,000.5 times 3:30pm 5km -5": "1,000.5 times 3:30 pm 5km -5",
    "$5 £5 50% #1 #tag": "$ 5 # 5 50 % # 1 #tag",
    "bang.and then barks.,": "bang.and then barks.",
    "a*b *gulp* a_b On|on & x": "a * b * gulp * a_b on | on & x",
    "what?! no!! yes? ok!": "what ?! no !! yes ok",
    "see www.x.org or a@b.com": "see www.x.org or a@b.com",
    "happy :) siren": "happy :-rrb- siren",
    "“quoted” ‘words’ — done…": "quoted words done",
    "birds 😀 chirp\u0000": "birds chirp",
    "café naïve-sounding 日本語": "café naïve-sounding 日本語",
    "soft\u00adhyphen <br/> &amp;": "softhyphen <br/> &",
    "Ph.D. AT&T R&B R2D2": "ph.d. at&t r&b r2d2",
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_caption_has_the_tokens_of_the_reference_tool(text):
    assert " ".join(tokenize(text)) == EXAMPLES[text]


def test_captions_keep_their_order():
    assert tokenize_all(["a b", "", "c"]) == [["a", "b"], [], ["c"]]


@given(st.text())
def test_tokens_are_words_without_white_space_or_removed_punctuation(text):
    tokens = tokenize(text)
    assert all(token and token.split() == [token] for token in tokens)
    assert REMOVED.isdisjoint(tokens)


@given(st.lists(st.from_regex(r"[a-z]{2,8}", fullmatch=True).filter(lambda word: word.isalpha())))
def test_white_space_of_any_kind_separates_words(words):
    assert tokenize("\n\t ".join(words)) == tokenize(" ".join(words))


@given(st.text(), st.text())
def test_captions_are_tokenised_alone(first, second):
    assert tokenize_all([first, second]) == [tokenize(first), tokenize(second)]


@pytest.mark.parametrize("text", ["a" * 2_000_000, "a," * 1_000_000, "<" * 1_000_000, "-" * 1_000_000])
def test_a_huge_run_without_spaces_is_done_in_parts(text):
    tokens = tokenize(text)
    assert len(tokens) <= len(text)
    assert all(len(token) <= LONGEST_PIECE for token in tokens)

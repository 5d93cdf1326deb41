"""N-grams as integers stand for the same n-grams as tuples of tokens."""

from __future__ import annotations

from fusion_eval.ngrams import NgramTable
from hypothesis import given
from hypothesis import strategies as st

ORDER = 4
captions = st.lists(st.lists(st.sampled_from(["a", "dog", "barks", "rain", "x"]), max_size=7), max_size=6)


def _tuples(caption: list[str], order: int) -> list[tuple[str, ...]]:
    return [tuple(caption[start : start + order]) for start in range(len(caption) - order + 1)]


@given(captions)
def test_every_n_gram_is_there_once_and_is_spelled_right(texts):
    table = NgramTable(texts, ORDER)
    for order, spelled in enumerate(table.spell(), start=1):
        different = {gram for caption in texts for gram in _tuples(caption, order)}
        assert len(spelled) == len(set(spelled))
        assert set(spelled) == {" ".join(gram) for gram in different}


@given(captions, captions)
def test_encoded_captions_have_the_ids_of_the_same_n_grams_and_new_ones_for_new_n_grams(known, texts):
    table = NgramTable(known, ORDER)
    for order, (level, spelled) in enumerate(zip(table.encode(texts), table.spell(), strict=True), start=1):
        grams = [(owner, gram) for owner, caption in enumerate(texts) for gram in _tuples(caption, order)]
        assert level.owner.tolist() == [owner for owner, _ in grams]
        ids = level.gram.tolist()
        for gram, number in zip((gram for _, gram in grams), ids, strict=True):
            text = " ".join(gram)
            assert (spelled[number] == text) if number < len(spelled) else (text not in spelled)
        assert len(set(ids)) == len({gram for _, gram in grams})


@given(captions)
def test_a_table_encodes_its_own_captions_as_it_counted_them(texts):
    table = NgramTable(texts, ORDER)
    for own, again in zip(table.levels, table.encode(texts), strict=True):
        assert own.owner.tolist() == again.owner.tolist()
        assert own.gram.tolist() == again.gram.tolist()

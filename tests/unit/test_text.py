"""The text embedder: the same numbers for the same words on every machine, and nothing for no words."""

from __future__ import annotations

import pytest
import torch

from dragfield.core.demo.text import TOKENS, WIDTH, embed

GOLDEN = (-0.2278632, 0.7177819, 1.1069191, 2.7858548, 8.9290743)
"""The vector of "red" as first word: its first four numbers, and its length."""


def test_a_word_is_the_same_numbers_on_every_machine() -> None:
    # The trained weights know words by these vectors: should they ever change, the weights are worthless.
    txt = embed(["red"]).txt[0, 0]
    assert txt[:4].tolist() == pytest.approx(GOLDEN[:4], abs=1e-6)
    assert txt.norm().item() == pytest.approx(GOLDEN[4], abs=1e-5)


def test_an_empty_prompt_is_nothing() -> None:
    for prompt in ("", "  ", "!?,"):
        cond = embed([prompt])
        assert not cond.txt.any() and not cond.pooled.any()
        assert cond.txt.shape == (1, TOKENS, WIDTH) and cond.pooled.shape == (1, WIDTH)


def test_case_and_punctuation_say_nothing() -> None:
    assert torch.equal(embed(["a Red star, on GRASS!"]).txt, embed(["a red star on grass"]).txt)


def test_the_order_of_words_says_something() -> None:
    assert not torch.equal(embed(["red star blue bar"]).txt, embed(["blue star red bar"]).txt)


def test_a_word_is_known_wherever_it_stands() -> None:
    first, second = embed(["red star"]).txt[0, 0], embed(["star red"]).txt[0, 1]
    other = embed(["blue"]).txt[0, 0]
    similarity = torch.nn.functional.cosine_similarity
    assert similarity(first, second, dim=0) > 0.6 > similarity(first, other, dim=0)


def test_words_beyond_the_last_token_are_dropped() -> None:
    words = [f"word{i}" for i in range(TOKENS + 5)]
    assert torch.equal(embed([" ".join(words)]).txt, embed([" ".join(words[:TOKENS])]).txt)


def test_a_prompt_does_not_depend_on_its_company() -> None:
    both, alone = embed(["a red star on grass", "empty sand"]), embed(["empty sand"])
    assert torch.equal(both.txt[1:], alone.txt) and torch.equal(both.pooled[1:], alone.pooled)


@pytest.mark.parametrize("prompt", ["Süßes Ölgemälde", "\u8d64\u3044\u661f", "\U0001f31f 42", "x" * 10_000])
def test_any_words_can_be_said(prompt: str) -> None:
    cond = embed([prompt])
    assert cond.txt.isfinite().all() and cond.pooled.isfinite().all()


def test_long_prompts_are_as_loud_as_short_ones() -> None:
    short, long = (embed([prompt]).pooled.norm().item() for prompt in ("red", "a red star and a blue bar on wood"))
    assert 0.5 < long / short < 2

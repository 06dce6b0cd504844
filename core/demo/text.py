"""The demo models' text embedder: every word is a fixed random vector, a prompt is the row of its words.

It has no weights and needs no download, works for any word, and is the same on every machine. The transformer learned what the words of the
scene vocabulary mean ("a red striped star on grass"); other words are noise to it, an empty prompt is the null condition.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..model.backbone import Conditioning

TOKENS = 20
WIDTH = 64


def embed(prompts: list[str]) -> Conditioning:
    """Prompts -> Conditioning with txt [B, 20, 64] (zeros where a prompt has ended) and pooled [B, 64].

    Words beyond the twentieth are dropped. The position of a word is added to its vector, because FLUX gives text tokens no position.
    """
    rows = [_row(prompt) for prompt in prompts]
    txt = torch.stack([row for row, _ in rows])
    counts = torch.tensor([max(1, count) for _, count in rows]).unsqueeze(-1)
    return Conditioning(txt=txt, pooled=txt.sum(1) / counts.sqrt())


def _row(prompt: str) -> tuple[Tensor, int]:
    words = re.findall(r"[^\W_]+", prompt.lower())[:TOKENS]
    row = torch.zeros(TOKENS, WIDTH)
    for i, word in enumerate(words):
        row[i] = torch.from_numpy(_vector(word)) + 0.5 * torch.from_numpy(_vector(f"#{i}"))
    return row, len(words)


@lru_cache(maxsize=4096)
def _vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(WIDTH).astype(np.float32)

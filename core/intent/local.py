"""Asking a vision-language model of one's own, from a folder that transformers can load (Qwen2.5-VL and its like)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..instruction import DragInstruction
from ..progress import Interrupted
from .answer import AnswerError, Intent, read_intent
from .request import Request

MAX_NEW_TOKENS = 2048


def ask(
    folder: Path, request: Request, instruction: DragInstruction, *, device: str = "cpu", dtype: torch.dtype = torch.bfloat16,
    should_stop: Callable[[], bool] | None = None, max_new_tokens: int = MAX_NEW_TOKENS,
) -> Intent:  # fmt: skip
    """The local model's reading of the drag. It is loaded for this and freed after.

    folder: config, processor and safetensors weights as saved by transformers; nothing is fetched, no code in it is run.

    Raises: ValueError when the folder holds no such model; AnswerError when its answer makes no sense; Interrupted on should_stop.
    """
    model, processor = _load(folder, device, dtype)
    try:
        text = generate(model, processor, [request.picture, request.marked], request.text, should_stop, max_new_tokens)
    finally:
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    try:
        return read_intent(text, instruction)
    except AnswerError as error:
        raise AnswerError(f"{folder.name} was asked: {error}; try a larger model, or describe the drag yourself") from None


@torch.no_grad()
def generate(
    model: Any, processor: Any, pictures: list[np.ndarray], text: str, should_stop: Callable[[], bool] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> str:  # fmt: skip
    """The model's greedy continuation of a chat turn with `pictures` uint8 [H, W, 3] and a text."""
    from PIL import Image
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Cancelled(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            stop = should_stop is not None and should_stop()
            return torch.full((input_ids.shape[0],), stop, dtype=torch.bool, device=input_ids.device)

    content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": text}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True)
    given = processor(text=[prompt], images=[Image.fromarray(p) for p in pictures], return_tensors="pt").to(model.device)
    if should_stop is not None and should_stop():
        raise Interrupted("asking for the intent was cancelled")
    made = model.generate(
        **given, max_new_tokens=max_new_tokens, do_sample=False, stopping_criteria=StoppingCriteriaList([Cancelled()])
    )
    if should_stop is not None and should_stop():
        raise Interrupted("asking for the intent was cancelled")
    return processor.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)[0]


@lru_cache(maxsize=1)
def kept(folder: Path, device: str) -> tuple[Any, Any]:
    """The model and its processor, for `generate`; the last one asked for stays loaded. bfloat16 on a GPU, float32 on a CPU."""
    return _load(folder, device, torch.float32 if device == "cpu" else torch.bfloat16)


def _load(folder: Path, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError:
        raise ValueError("a local model needs transformers: pip install transformers") from None
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json: name the folder of a vision-language model saved by transformers")
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(folder, **options)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder} can't be loaded as a vision-language model: {reason}") from None
    return model.to(device).eval(), processor

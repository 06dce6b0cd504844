from __future__ import annotations

import pytest
import torch

from dragfield.core import device
from dragfield.core.device import has_float64, sent_to

CPU = torch.device("cpu")


def test_where_there_is_float64_nothing_is_rounded() -> None:
    places = torch.rand(3, 2, dtype=torch.float64)
    assert has_float64(CPU) and sent_to(places, CPU) is places


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_where_there_is_none_only_float64_becomes_float32(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(device, "has_float64", lambda _: False)
    assert sent_to(torch.rand(3, dtype=torch.float64), CPU).dtype == torch.float32
    assert sent_to(torch.ones(3).to(dtype), CPU).dtype == dtype


@pytest.mark.parametrize("error", [RuntimeError("aspect fp64 is not supported"), TypeError("no float64 on MPS")])
def test_a_device_is_asked_by_trying(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch, "zeros", refuse)
    assert not has_float64(torch.device("meta", 3 if isinstance(error, TypeError) else 4))
    has_float64.cache_clear()

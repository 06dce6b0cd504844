"""A stand-in for a graphics card on any machine: what goes wrong on a card because it is another device than the CPU goes wrong on it.

    device = tests.card.install()        # builds it first (g++, ninja; a minute), once a version of torch

A tensor on it does not meet one on the CPU, a model moved there gets new numbers in its parameters, a backward pass runs in a thread of its
own, `.numpy()` is refused. What it computes is what the CPU computes, at the price of copies. With CARD_WITHOUT_FLOAT64 set it has no
float64, as the cards of Apple and Intel have none.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

NAME = "mtia"
"""Of the devices that PyTorch knows, one that nobody here has: card.cpp says why."""


@cache
def install() -> torch.device:
    """Build and register the device. -> what tensors are moved to"""
    from torch.utils import cpp_extension

    cpp_extension.load("dragfield_card", [str(Path(__file__).with_name("card.cpp"))], extra_cflags=["-O1"])
    module = torch.get_device_module(NAME)
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.get_device_name = lambda device=None: "a stand-in for a card"
    module.synchronize = module.empty_cache = lambda device=None: None
    module.manual_seed_all = lambda seed: None
    module._is_in_bad_fork = lambda: False
    module._lazy_init = lambda: None
    return torch.device(NAME, 0)

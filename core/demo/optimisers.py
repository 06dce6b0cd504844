"""Muon for the matrices inside a transformer's blocks, AdamW for the rest, handled as one optimiser."""

from __future__ import annotations

import torch
from torch import nn


def make_optimiser(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW for everything, or Muon for the matrices inside the blocks and AdamW, at a third of the rate, for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "transformer_blocks" in n and ".norm" not in n]
    chosen = {id(p) for p in matrices} if name == "muon" else set()
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=rate / 3 if chosen else rate, betas=(0.9, 0.98), weight_decay=0.01)
    if name == "adamw":
        return _with_initial(adam)
    muon = torch.optim.Muon(matrices, lr=rate, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return _with_initial(Both(muon, adam))


class Both(torch.optim.Optimizer):
    """Two optimisers over different parameters, handled as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def _with_initial(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser

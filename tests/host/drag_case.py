"""One drag as a graph of nodes, as Drag Edit and as core's own call, each node with the defaults of its own schema."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from dragfield.core.instruction import DragInstruction
from dragfield.nodes import models
from dragfield.nodes.ddim_invert import DDIMInvert
from dragfield.nodes.drag_edit import DragEdit
from dragfield.nodes.host.autoencoder import ComfyAutoencoder
from dragfield.nodes.host.recognised_backbone import backbone_for
from dragfield.nodes.invert import FireFlowInvert
from dragfield.nodes.masked_denoise import GradientMaskedDenoise
from dragfield.nodes.paste_back import PasteBack
from nodes import CLIPTextEncode, VAEDecode, VAEEncode

SIDE = 128
FEW = {"steps": 6, "skip": 2}


def run(node: Any, **given: Any) -> tuple:
    """A node with the defaults of its schema where nothing is given."""
    values = {}
    for inp in node.define_schema().inputs:
        options = getattr(inp, "options", None)
        default = getattr(inp, "default", None)
        if default is None and options:
            default = options[0]
        if default is not None:
            values[inp.id] = default
    hidden = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id=None, prompt=None, dynprompt=None)})
    return hidden.execute(**{**values, **given}).result


class DragCase:
    """One drag of one picture on one model."""

    def __init__(self, loaded: tuple, image: torch.Tensor, drag: Any) -> None:
        self.model, self.clip, self.vae = loaded
        self.image, self.drag = image, drag
        self.flow = hasattr(backbone_for(self.model), "velocity")

    def prompt(self, words: str) -> Any:
        return CLIPTextEncode().encode(self.clip, words)[0]

    def inverted(self, words: str, **how: Any) -> tuple:
        latent = VAEEncode().encode(self.vae, self.image)[0]
        what = {"model": self.model, "positive": self.prompt(words), "latent": latent}
        if self.flow:
            return run(FireFlowInvert, **what, **FEW, **how)
        return run(DDIMInvert, **what, steps=FEW["steps"], strength=1 - FEW["skip"] / FEW["steps"])

    def graph(self, trajectory: Any, mask: torch.Tensor, detailed: bool = False) -> torch.Tensor:
        latent = run(GradientMaskedDenoise, model=self.model, trajectory=trajectory)[0]
        decoded = VAEDecode().decode(self.vae, latent)[0]
        more = {"trajectory": trajectory} if detailed else {}
        return run(PasteBack, edited=decoded, original=self.image, mask=mask, **more)[0]

    def edit(self, method: str, trajectory: Any, **more: Any) -> torch.Tensor:
        what = {"model": self.model, "vae": self.vae, "image": self.image, "drag": self.drag, "clip": self.clip}
        return run(DragEdit, **what, method=method, trajectory=trajectory, **more)[0]

    def core(self, method: Any, trajectory: Any, settings: Any, *prompts: str, **how: Any) -> torch.Tensor:
        backbone, autoencoder = backbone_for(self.model), ComfyAutoencoder(self.vae, self.model)
        branch = models.ready(backbone, trajectory.branches[0])
        settings = replace(settings, inversion=branch.inversion.settings)
        conds = [models.prompt_of(self.prompt(words)) for words in prompts]
        placed = DragInstruction.from_json(self.drag).rasterise(SIDE, SIDE)
        picture = self.image.movedim(-1, 1).contiguous().to(backbone.device)
        with backbone.session():
            made = method(backbone, autoencoder, picture, placed, *conds, settings=settings, inversion=branch.inversion, **how)
        return made.image.movedim(1, -1).cpu()

"""Methods as the evaluation runs them: a case and a seed in, a picture of the case's own size out.

The floors `no_edit` and `pixel_warp` need no model; the methods run as `dragfield edit` runs them at its defaults, on the bundled models or
on a folder in diffusers layout. Models are read when first needed and prompts encoded before them, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from ...core.demo import flux as demo_flux
from ...core.demo import unet as demo_unet
from ...core.demo.directdrag_settings import DIRECTDRAG
from ...core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
from ...core.edits.directdrag import PUBLISHED as PUBLISHED_DIRECTDRAG
from ...core.edits.directdrag import directdrag
from ...core.edits.dragfield import DragFieldSettings, dragfield
from ...core.edits.dragflow import PUBLISHED as PUBLISHED_DRAGFLOW
from ...core.edits.dragflow import dragflow
from ...core.edits.edit import Edit
from ...core.field import DragField
from ...core.formats.picture_file import decode
from ...core.instruction import DragInstruction
from ...core.model.backbone import Conditioning
from ...core.model.readout import load_readout
from ...core.picture.preview import preview
from ...core.picture.working_size import to_picture, to_tensor, working_size
from .dataset import Case

BUNDLED = "demo"
"""What names the bundled models instead of a folder."""
HEAD = "readout.safetensors"
LONGEST_BUNDLED, LONGEST = 256, 1024


@dataclass(frozen=True)
class Method:
    """network: the kind of model it runs on, "" for none.  takes: how the drag has to be told.  published: as published on a folder."""

    network: Literal["", "flux", "unet"] = ""
    takes: Literal["either", "regions", "points"] = "either"
    published: bool = False


METHODS: dict[str, Method] = {
    "no_edit": Method(),
    "pixel_warp": Method(),
    "dragfield": Method("flux"),
    "dragflow": Method("flux", "regions", published=True),
    "directdrag": Method("unet", "points", published=True),
}


@dataclass(frozen=True)
class Made:
    """A picture and what it took."""

    picture: Image.Image
    seconds: float = 0.0
    nfe_forward: int = 0
    nfe_backward: int = 0


class Editors:
    """The methods on one model.

    model: "demo", or a folder in diffusers layout.  longest: side worked at, px; None as `dragfield edit` takes it: 256 on the bundled
    models, no limit as published, 1024 else.  Raises: ValueError for an unknown method, and for a folder that lacks what a method needs.
    """

    def __init__(
        self, methods: Sequence[str], model: str = BUNDLED, *, device: str = "cpu", dtype: str = "auto", longest: int | None = None
    ) -> None:
        unknown = [name for name in methods if name not in METHODS]
        if unknown or not methods:
            raise ValueError(f"method {(unknown or [''])[0]!r} is unknown: use some of {', '.join(METHODS)}")
        self.bundled = model == BUNDLED
        bundled = {"flux": demo_flux.WEIGHTS, "unet": demo_unet.WEIGHTS}
        self.folders = bundled if self.bundled else dict.fromkeys(bundled, Path(model))
        self.methods, self.device, self.longest = tuple(methods), device, longest
        self.dtype = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._words: dict[tuple[str, int, str], Conditioning] = {}
        for name in methods:
            part = {"flux": "transformer", "unet": "unet"}.get(METHODS[name].network)
            if part is not None and not (self.folders[METHODS[name].network] / part).is_dir():
                raise ValueError(f"{name} needs a model with {part}/, and {model} has none: give --model another folder, or 'demo'")

    def told(self, method: str, case: Case) -> DragInstruction:
        """The case's drag as the method takes it. Raises: ValueError where the data set does not tell it so."""
        takes = METHODS[method].takes
        if method == "dragflow" and self.bundled and case.regions is None:
            takes = "points"
        found = {"either": case.instruction, "regions": case.regions, "points": case.points}[takes]
        if found is None:
            raise ValueError(f"{method} drags {takes}, and this sample tells its drag without any: leave the method out")
        return found

    def prepare(self, prompts: Iterable[tuple[str, str]]) -> None:
        """Encode the prompts (of a picture, and what its edit adds) that will be asked for, so that no encoder has to be read again."""
        pairs = list(prompts)
        wanted = {key for name in self.methods if METHODS[name].network for pair in pairs for key in self._keys(name, pair)}
        by_encoder: dict[tuple[str, int], list[str]] = {}
        for network, tokens, text in sorted(wanted - self._words.keys()):
            by_encoder.setdefault((network, tokens), []).append(text)
        for (network, tokens), texts in by_encoder.items():
            for text, words in zip(texts, self._encoded(network, tokens, texts), strict=True):
                self._words[network, tokens, text] = words.to("cpu")

    def load(self, method: str) -> None:
        """Read the model of a method, if it is not there yet. Raises: OSError or ValueError for a folder that holds no such model."""
        if METHODS[method].network:
            _ = self._models[METHODS[method].network]

    def edit(self, method: str, case: Case, seed: int) -> Made:
        """One edit. seed: of whatever is drawn. Raises: ValueError for what the method can't do."""
        told = self.told(method, case)
        picture = decode(case.picture)
        if not METHODS[method].network:
            if method == "no_edit":
                return Made(picture)
            pixels = np.array(picture)
            field = DragField.from_drag(told.rasterise(*case.size), picture=pixels)
            return Made(Image.fromarray(preview(pixels, field)))
        return self._by_model(method, told, case, picture, seed)

    def _by_model(self, method: str, told: DragInstruction, case: Case, picture: Image.Image, seed: int) -> Made:
        published = METHODS[method].published and not self.bundled
        limit = self.longest or (LONGEST_BUNDLED if self.bundled else None if published else LONGEST)
        native = published and self.longest is None
        # DirectDrag takes any sides; DragFlow's working picture has whole tokens, its masks are the picture's own.
        size = picture.size if method == "directdrag" and native else working_size(picture.size, limit)
        drag = told.rasterise(*(picture.size if native else size))
        resampling = Image.Resampling.BICUBIC if published and method == "dragflow" else Image.Resampling.LANCZOS
        image = to_tensor(picture, size, resampling).to(self.device)
        self.prepare([case.prompts])
        words = [self._words[key].to(self.device, self.dtype) for key in self._keys(method, case.prompts)]
        run, settings = self._settings(method, published)
        if hasattr(settings, "seed"):
            settings = replace(settings, seed=seed)
        if published and not native:
            settings = replace(settings, masks_at="working") if method == "dragflow" else settings
        more: dict[str, Any] = {"head": self._head} if method == "directdrag" else {}
        edit: Edit = run(*self._models[METHODS[method].network], image, drag, *words, settings=settings, **more)
        mask = edit.mask if settings.paste_back else None
        made = to_picture(edit.image, picture, mask, truncated=published)
        return Made(made, edit.seconds, edit.nfe_forward, edit.nfe_backward)

    def _settings(self, method: str, published: bool) -> tuple[Callable[..., Edit], Any]:
        if method == "dragfield":
            return dragfield, DRAGFIELD if self.bundled else DragFieldSettings()
        if method == "dragflow":
            return dragflow, PUBLISHED_DRAGFLOW if published else DRAGFLOW
        return directdrag, PUBLISHED_DIRECTDRAG if published else DIRECTDRAG

    def _keys(self, method: str, prompts: tuple[str, str]) -> list[tuple[str, int, str]]:
        """What of `_words` a method wants: the picture's prompt, and that of the edit where it has one."""
        from ...core.backbones.flux_folder import PUBLISHED_T5_TOKENS, T5_TOKENS

        published = METHODS[method].published and not self.bundled
        if METHODS[method].network == "unet":
            return [("unet", 0, "" if published else prompts[0])]
        tokens = PUBLISHED_T5_TOKENS if published else T5_TOKENS
        both = ("" if published else " ").join(filter(None, prompts))
        return [("flux", tokens, prompts[0]), ("flux", tokens, both)]

    def _encoded(self, network: str, tokens: int, texts: list[str]) -> list[Conditioning]:
        if network == "unet":
            from ...core.backbones.unet_folder import encode_unet_prompts

            return encode_unet_prompts(self.folders["unet"], texts, self.device, self.dtype)
        from ...core.backbones.flux_folder import encode_prompts

        return encode_prompts(self.folders["flux"], texts, self.device, self.dtype, t5_len=tokens)

    @cached_property
    def _models(self) -> _Models:
        return _Models(self.folders, self.device, self.dtype)

    @cached_property
    def _head(self):
        return load_readout(self.folders["unet"] / HEAD).to(self.device) if self.bundled else None


class _Models(dict):
    """Backbone and autoencoder by the kind of network, read when first asked for."""

    def __init__(self, folders: dict[str, Path], device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._from = folders, device, dtype

    def __missing__(self, network: str):
        folders, device, dtype = self._from
        if network == "flux":
            from ...core.backbones.flux_folder import load_models as load
        else:
            from ...core.backbones.unet_folder import load_unet_models as load
        self[network] = load(folders[network], device, dtype)
        return self[network]

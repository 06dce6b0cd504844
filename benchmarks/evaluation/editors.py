"""Methods as the evaluation runs them: a case and a seed in, a picture of the case's own size out.

The floors `no_edit` and `pixel_warp` need no model; the methods run as `dragfield edit` runs them at its defaults, on the bundled models or
on a folder in diffusers layout, variants with what they change (variants.py). Models are read when first needed and prompts encoded before
them, all at once.
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
from ...core.demo.adapter import DemoAdapter, with_subject
from ...core.demo.method_settings import method_settings
from ...core.edits.dragflow import DragFlowSettings, check_ties
from ...core.edits.edit import Edit
from ...core.edits.presets import preset_named
from ...core.field import DragField
from ...core.formats.picture_file import decode
from ...core.instruction import DragInstruction
from ...core.model.backbone import Conditioning
from ...core.model.blocks import choose_blocks
from ...core.model.noise_schedule import scaled_linear
from ...core.model.readout import ReadoutHead, load_readout
from ...core.picture.preview import preview
from ...core.picture.working_size import to_picture, to_tensor, working_size
from ...core.sampling.ddim import ddim_times
from ...core.sampling.inversion import InversionSettings
from ...core.sampling.schedules import flux_schedule, sampling_times
from .dataset import Case
from .variants import Variant, with_settings

BUNDLED = "demo"
"""What names the bundled models instead of a folder."""
HEAD = "readout.safetensors"
LONGEST_BUNDLED, LONGEST = 256, 1024


@dataclass(frozen=True)
class Method:
    """network: the kind of model it runs on, "" for none.  takes: how the drag has to be told.  published: it has a preset
    of that name, which it takes on a folder unless a variant says otherwise."""

    network: Literal["", "flux", "unet"] = ""
    takes: Literal["either", "regions", "points"] = "either"
    published: bool = False


METHODS: dict[str, Method] = {
    "no_edit": Method(),
    "pixel_warp": Method(),
    "dragfield": Method("flux"),
    "dragflow": Method("flux", "regions", published=True),
    "directdrag": Method("unet", "points", published=True),
    "directdrag_flow": Method("flux", "points"),
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

    methods: names of `METHODS` or of `variants`.  model: "demo", or a folder in diffusers layout.  readout: directdrag's head for that
    folder; None: without its readout guidance.  longest: side worked at, px; None as `dragfield edit` takes it: 256 on the bundled models,
    no limit as published, 1024 else.
    Raises: ValueError for an unknown method, for settings that a variant can't have, and for a folder that lacks what a method needs.
    """

    def __init__(
        self, methods: Sequence[str], model: str = BUNDLED, *, variants: Iterable[Variant] = (), readout: Path | None = None,
        device: str = "cpu", dtype: str = "auto", longest: int | None = None,
    ) -> None:  # fmt: skip
        known = {name: Variant(name, name) for name in METHODS} | named_apart(variants)
        unknown = [name for name in methods if name not in known]
        if unknown or not methods:
            raise ValueError(f"method {(unknown or [''])[0]!r} is unknown: use some of {', '.join(known)}")
        self.bundled = model == BUNDLED
        bundled = {"flux": demo_flux.WEIGHTS, "unet": demo_unet.WEIGHTS}
        self.folders = bundled if self.bundled else dict.fromkeys(bundled, Path(model))
        self.methods, self.device, self.longest = tuple(methods), device, longest
        self.dtype = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if device.startswith("cuda") else torch.float32
        self._words: dict[tuple[str, int, str], Conditioning] = {}
        self._variants = {name: known[name] for name in methods}
        self._engines = {name: self._engine(name) for name in methods if self._method(name).network}
        self._readout = readout
        if readout is not None and not readout.is_file():
            raise ValueError(f"--readout {readout} is no file: give a readout head, or leave it out")
        for name in methods:
            network = self._method(name).network
            part = {"flux": "transformer", "unet": "unet"}.get(network)
            if part is not None and not (self.folders[network] / part).is_dir():
                raise ValueError(f"{name} needs a model with {part}/, and {model} has none: give --model another folder, or 'demo'")

    def _method(self, name: str) -> Method:
        return METHODS[self._variants[name].method]

    def _published(self, name: str) -> bool:
        """Whether it is done as published: prompts, sizes and rounding too."""
        preset = preset_named(self._variants[name].preset, bundled=self.bundled)
        return self._method(name).published and preset == "published"

    def _engine(self, name: str) -> tuple[Callable[..., Edit], Any]:
        """What edits, and its settings. Raises: ValueError for settings that can't be, naming the variant."""
        variant = self._variants[name]
        try:
            preset = preset_named(variant.preset, bundled=self.bundled)
            if variant.preset != "auto" and preset == "published" and not self._method(name).published:
                raise ValueError(f"nobody published {variant.method}: leave the preset out")
            run, settings = method_settings(variant.method, preset, bundled=self.bundled)
            if "seed" in variant.settings:
                raise ValueError("each sample has a seed of its own, from --seed and its name: leave seed out")
            settings = with_settings(settings, variant.settings)
            rehearse(settings)
            if variant.adapter is not None and (not self.bundled or self._method(name).network != "flux"):
                raise ValueError("a subject adapter is there for the bundled FLUX alone: leave adapter out")
        except ValueError as error:
            raise ValueError(f"variant {name}: {error}") from None
        return run, settings

    def told(self, method: str, case: Case) -> DragInstruction:
        """The case's drag as the method takes it. Raises: ValueError where the data set does not tell it so."""
        takes = self._method(method).takes
        if self._variants[method].method == "dragflow" and not self._published(method) and case.regions is None:
            takes = "points"
        found = {"either": case.instruction, "regions": case.regions, "points": case.points}[takes]
        if found is None:
            raise ValueError(f"{method} drags {takes}, and this sample tells its drag without any: leave the method out")
        return found

    def prepare(self, prompts: Iterable[tuple[str, str]]) -> None:
        """Encode the prompts (of a picture, and what its edit adds) that will be asked for, so that no encoder has to be read again."""
        pairs = list(prompts)
        wanted = {key for name in self.methods if self._method(name).network for pair in pairs for key in self._keys(name, pair)}
        by_encoder: dict[tuple[str, int], list[str]] = {}
        for network, tokens, text in sorted(wanted - self._words.keys()):
            by_encoder.setdefault((network, tokens), []).append(text)
        for (network, tokens), texts in by_encoder.items():
            for text, words in zip(texts, self._encoded(network, tokens, texts), strict=True):
                self._words[network, tokens, text] = words.to("cpu")

    def load(self, method: str) -> None:
        """Read the model of a method, if it is not there yet. Raises: OSError or ValueError for a folder that holds no such model."""
        if self._method(method).network:
            _ = self._models[self._method(method).network]

    def edit(self, method: str, case: Case, seed: int) -> Made:
        """One edit. seed: of whatever is drawn. Raises: ValueError for what the method can't do."""
        told = self.told(method, case)
        picture = decode(case.picture)
        if not self._method(method).network:
            if self._variants[method].method == "no_edit":
                return Made(picture)
            pixels = np.array(picture)
            field = DragField.from_drag(told.rasterise(*case.size), picture=pixels)
            return Made(Image.fromarray(preview(pixels, field)))
        return self._by_model(method, told, case, picture, seed)

    def _by_model(self, name: str, told: DragInstruction, case: Case, picture: Image.Image, seed: int) -> Made:
        method, published = self._variants[name].method, self._published(name)
        limit = self.longest or (LONGEST_BUNDLED if self.bundled else None if published else LONGEST)
        native = published and self.longest is None
        # DirectDrag takes any sides; DragFlow's working picture has whole tokens, its masks are the picture's own.
        size = picture.size if method == "directdrag" and native else working_size(picture.size, limit)
        drag = told.rasterise(*(picture.size if native else size))
        resampling = Image.Resampling.BICUBIC if published and method == "dragflow" else Image.Resampling.LANCZOS
        image = to_tensor(picture, size, resampling).to(self.device)
        self.prepare([case.prompts])
        words = [self._words[key].to(self.device, self.dtype) for key in self._keys(name, case.prompts)]
        run, settings = self._engines[name]
        if hasattr(settings, "seed"):
            settings = replace(settings, seed=seed)
        if published and not native:
            settings = replace(settings, masks_at="working") if method == "dragflow" else settings
        network = METHODS[method].network
        more: dict[str, Any] = {"head": self._heads[network]} if METHODS[method].takes == "points" else {}
        backbone, autoencoder = self._models[network]
        if (strength := self._variants[name].adapter) is not None:
            backbone = with_subject(backbone, autoencoder, self._adapter, image, strength)
        edit: Edit = run(backbone, autoencoder, image, drag, *words, settings=settings, **more)
        mask = edit.mask if settings.paste_back else None
        made = to_picture(edit.image, picture, mask, truncated=published)
        return Made(made, edit.seconds, edit.nfe_forward, edit.nfe_backward)

    def _keys(self, method: str, prompts: tuple[str, str]) -> list[tuple[str, int, str]]:
        """What of `_words` a method wants: the picture's prompt, and that of the edit where it has one."""
        from ...core.backbones.flux_folder import PUBLISHED_T5_TOKENS, T5_TOKENS

        published = self._published(method)
        if self._method(method).network == "unet":
            return [("unet", 0, "" if published else prompts[0])]
        tokens = PUBLISHED_T5_TOKENS if published else T5_TOKENS
        both = ("" if published else " ").join(filter(None, prompts))
        # A point drag knows one prompt, the picture's.
        return [("flux", tokens, text) for text in (prompts[:1] if self._method(method).takes == "points" else (prompts[0], both))]

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
    def _adapter(self) -> DemoAdapter:
        return DemoAdapter.load().to(self.device, self.dtype)

    @cached_property
    def _heads(self) -> dict[str, ReadoutHead | None]:
        """Readout heads by the kind of network; that of a folder is the UNet's."""
        own = {network: folder / HEAD if self.bundled else None for network, folder in self.folders.items()}
        files = own if self._readout is None else own | {"unet": self._readout}
        return {network: None if path is None else load_readout(path).to(self.device) for network, path in files.items()}


def named_apart(variants: Iterable[Variant]) -> dict[str, Variant]:
    """Variants by name. Raises: ValueError for a name that a method has, one that differs in its letters' case alone, and a method that is
    unknown or has no settings."""
    found: dict[str, Variant] = {}
    for variant in variants:
        taken = {name.lower() for name in (*METHODS, *found)}
        if variant.name.lower() in taken:
            raise ValueError(f"a variant can't be named {variant.name!r}: that is another one's folder already, whatever the letters' case")
        if variant.method not in METHODS or not METHODS[variant.method].network:
            able = ", ".join(name for name, method in METHODS.items() if method.network)
            raise ValueError(f"variant {variant.name} is of method {variant.method!r}: use one of {able}")
        found[variant.name] = variant
    return found


def rehearse(settings: Any) -> None:
    """What else would end an edit only once it has begun. Raises: ValueError."""
    if isinstance(settings, DragFlowSettings):
        check_ties(settings)
    inversion = settings.inversion
    if isinstance(inversion, InversionSettings):
        sampling_times(flux_schedule(1, inversion.steps), inversion.skip)
        choose_blocks(inversion.kv_blocks, 1, 1)
    else:
        ddim_times(scaled_linear(), inversion.steps, inversion.strength)


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

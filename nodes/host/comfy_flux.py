"""A MODEL of the FLUX family as a FlowBackbone: FLUX.1, FLUX.2, LongCat-Image and Chroma, run by ComfyUI's own forward.

The call goes through ComfyUI's sampling code, so that LoRAs, areas, masks, reference latents, ControlNets and other packs' patches work as
they do in a KSampler. Nothing is installed in the model: wrappers and patches travel in the options of the call, hooks on layers are taken
off again, and hook patches are registered on a clone.

Convention: at time t the model is called with sigma = t. The velocity is the network's own output, taken before ComfyUI turns it into a
denoised latent, so that it exists at t = 0 too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.attention import OWN_KEYS_VALUES, KVSession
from ...core.backbone import Conditioning
from ...core.taps import Tap, last_tap, resolve_taps
from .conditioning import ComfyConditioning, Native, as_native, prepared, with_guidance
from .gradients import OutOfPlace, Weights, checkpointed, differentiable, pytorch_attention, usable, weights_of
from .keys_values import keys_values_patch
from .memory import Walk, activation_bytes
from .recognise import flux_of
from .tap_reader import Reached, TapReader

KEY = "dragfield"


class ComfyFlux:
    """FlowBackbone over a native MODEL. Prompts are `ComfyConditioning`, or core's Conditioning.

    patcher: a MODEL; ValueError, one sentence, when it can't be dragged. It is cloned, never changed.
    checkpoint_blocks: compute blocks again in the backward pass instead of keeping their activations.

    Calls work by themselves; inside `session()` the model is prepared once for all of them. Latents on the MODEL's device go in and come
    out.
    """

    def __init__(self, patcher: Any, *, checkpoint_blocks: bool = False) -> None:
        self._network = flux_of(patcher)
        self._patcher = patcher.clone()
        self.checkpoint_blocks = checkpoint_blocks
        params, model = self._network.params, patcher.model
        self.latent_channels: int = model.latent_format.latent_channels
        self.patch: int = self._network.patch_size
        self.double_blocks = len(self._network.double_blocks)
        self.single_blocks = len(self._network.single_blocks)
        self.width: int = params.hidden_size
        self.guidance_distilled = bool(getattr(params, "guidance_embed", False))
        self._native: WeakKeyDictionary[Conditioning, ComfyConditioning] = WeakKeyDictionary()
        self._prepared: dict[Any, tuple[Native, list[dict], dict[str, Any]]] = {}
        self._weights: Weights | None = None
        self._depth, self._running, self._reserved = 0, False, 0

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._patcher.load_device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in; its weights may be stored in another."""
        return self._patcher.get_model_object("manual_cast_dtype") or self._patcher.model.get_dtype()

    @contextmanager
    def session(self) -> Iterator[ComfyFlux]:
        """Keep the model prepared over several calls. Gradients may flow inside, whatever mode it was entered in."""
        self._depth += 1
        try:
            with torch.inference_mode(False), torch.set_grad_enabled(torch.is_grad_enabled()):
                yield self
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._close()

    def velocity(
        self,
        z: Tensor,
        t: float,
        cond: ComfyConditioning | Conditioning,
        *,
        guidance: float | Tensor = 1.0,
        kv: KVSession | None = None,
    ) -> Tensor:
        """See FlowBackbone. K/V sessions are for prompts of one entry."""
        prompt = self._prompt(cond)
        with self.session():
            v = self._call(z, t, prompt.positive, guidance, kv, None)
            if prompt.negative is not None and prompt.cfg != 1.0:
                v_negative = self._call(z, t, prompt.negative, guidance, None, None)
                v = v_negative + prompt.cfg * (v - v_negative)
            return v

    def features(
        self,
        z: Tensor,
        t: float,
        cond: ComfyConditioning | Conditioning,
        *,
        taps: Sequence[Tap],
        guidance: float | Tensor = 1.0,
        kv: KVSession | None = None,
    ) -> list[Tensor]:
        """See FlowBackbone. For prompts of one entry."""
        self._check(z)
        grid = (z.shape[-2] // self.patch, z.shape[-1] // self.patch)
        reader = TapReader(self._network, resolve_taps(taps, self.double_blocks, self.single_blocks), grid)
        with self.session():
            try:
                self._call(z, t, self._prompt(cond).positive, guidance, kv, reader)
            except Reached:
                pass
            return reader.features

    def _call(
        self, z: Tensor, t: float, entries: Native, guidance: float | Tensor, kv: KVSession | None, reader: TapReader | None
    ) -> Tensor:
        """The network at (z, t): what the entries' predictions add up to, float32."""
        self._check(z)
        if len(entries) > 1 and (kv is not None or reader is not None):
            raise ValueError(
                f"this prompt has {len(entries)} entries (areas, masks or combined prompts), while features and remembered keys and values "
                "belong to one: drag with a single prompt, or let the denoising alone have the areas and turn K/V injection off"
            )
        flows = torch.is_grad_enabled() and z.requires_grad
        z = usable(z).to(self.device)
        z = z if z.dtype == torch.float64 else z.float()
        self._load(z, entries, reader, flows)
        conds, options = self._prepare(entries, z)
        if self.guidance_distilled:
            conds = with_guidance(conds, guidance)
        to = options["transformer_options"]
        to["sample_sigmas"] = torch.tensor([float(t), 0.0], device=z.device)
        if self.device.type == "cpu":
            # ComfyUI's choice there spares memory in pieces and takes a third longer.
            to.setdefault("optimized_attention_override", pytorch_attention)
        call = OWN_KEYS_VALUES if kv is None else kv.begin(t)
        if call is not OWN_KEYS_VALUES:
            tokens = z.shape[-2] * z.shape[-1] // self.patch**2
            to.setdefault("patches", {}).setdefault("attn1_patch", []).append(keys_values_patch(call, tokens))
        _give_own_output(to, OutOfPlace if flows else nullcontext)
        with ExitStack() as stack:
            if reader is not None:
                stack.enter_context(reader.reading(to))
            stack.enter_context(self._gradient(to, reader) if flows else torch.no_grad())
            sigma = torch.full((z.shape[0],), float(t), device=z.device)
            return comfy.samplers.calc_cond_batch(self._patcher.model, [conds], z, sigma, options)[0]

    @contextmanager
    def _gradient(self, transformer_options: dict[str, Any], reader: TapReader | None) -> Iterator[None]:
        transformer_options["optimized_attention_override"] = pytorch_attention
        blocks = [*self._network.double_blocks, *self._network.single_blocks] if self.checkpoint_blocks else []
        if blocks and reader is not None:
            # Not the block that ends the call: it is left before it returns, and its activations are the first to be read.
            end = reader.end.index + (self.double_blocks if reader.end.kind == "single" else 0)
            blocks = blocks[:end]
        self._weights = self._weights or weights_of(self._network)
        # In this order: a block has to find its parameters as the second run will find them.
        with checkpointed(blocks), differentiable(self._weights):
            yield

    def _load(self, z: Tensor, entries: Native, reader: TapReader | None, flows: bool) -> None:
        """Have the model on its device with room for this call; again when something took its place meanwhile."""
        need = self._bytes(z, entries, reader) if flows else 0
        model = self._patcher.model
        if self._patcher not in comfy.model_management.loaded_models() or need > self._reserved:
            ordinary = model.memory_required([2 * z.shape[0], *z.shape[1:]])
            extra, inference = comfy.sampler_helpers.get_additional_models(
                {"positive": [e[1] for e in entries]}, self._patcher.model_dtype()
            )
            comfy.model_management.load_models_gpu(
                [self._patcher, *extra],
                memory_required=ordinary + need + inference,
                minimum_memory_required=model.memory_required(z.shape) + need + inference,
            )
            self._reserved, self._weights = need, None
        if not self._running:
            self._patcher.pre_run()
            self._running = True

    def _bytes(self, z: Tensor, entries: Native, reader: TapReader | None) -> int:
        area = z.shape[-2] * z.shape[-1] + sum(ref.shape[-2] * ref.shape[-1] for ref in entries[0][1].get("reference_latents", ()))
        tokens = z.shape[0] * (area // self.patch**2 + entries[0][0].shape[1])
        end = None if reader is None else last_tap(reader.taps)
        double = end.index + 1 if end and end.kind == "double" else self.double_blocks
        single = 0 if end and end.kind == "double" else end.index + 1 if end else self.single_blocks
        return activation_bytes(Walk(tokens, self.width, double, single, self.dtype), checkpointed=self.checkpoint_blocks)

    def _prepare(self, entries: Native, z: Tensor) -> tuple[list[dict], dict[str, Any]]:
        """The entries and the model's options as sampling takes them; the options are the call's own."""
        key = (id(entries), tuple(z.shape), z.dtype)
        if key not in self._prepared:
            options = comfy.model_patcher.create_model_options_clone(self._patcher.model_options)
            conds = prepared(self._patcher.model, entries, z, "positive")
            comfy.sampler_helpers.prepare_model_patcher(self._patcher, {"positive": conds}, options)
            comfy.samplers.cast_to_load_options(options, device=self.device, dtype=self._patcher.model_dtype())
            # The entries are kept with what was made of them, so that their id stays theirs.
            self._prepared[key] = (entries, conds, options)
        _, conds, options = self._prepared[key]
        return conds, comfy.model_patcher.create_model_options_clone(options)

    def _close(self) -> None:
        for _, conds, _ in self._prepared.values():
            comfy.sampler_helpers.cleanup_models({"positive": conds}, [])
        self._prepared.clear()
        if self._running:
            self._running, self._reserved, self._weights = False, 0, None
            self._patcher.cleanup()

    def _prompt(self, cond: ComfyConditioning | Conditioning) -> ComfyConditioning:
        if isinstance(cond, ComfyConditioning):
            return cond
        return self._native.setdefault(cond, as_native(cond))

    def _check(self, z: Tensor) -> None:
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(
                f"this MODEL takes latents [B, {self.latent_channels}, h, w], got {list(z.shape)}: use the VAE that belongs to it"
            )
        if z.shape[-2] % self.patch or z.shape[-1] % self.patch:
            raise ValueError(
                f"a latent of {z.shape[-2]}x{z.shape[-1]} cells does not divide into {self.patch}x{self.patch} tokens: crop or pad the "
                f"picture to multiples of {self.patch * self._patcher.model.latent_format.spacial_downscale_ratio} px"
            )
        if not torch.isfinite(z).all():
            raise ValueError(
                "the latent holds NaN or infinite values: was it sampled or encoded in float16? Use bfloat16 or float32 for that"
            )


def _give_own_output(transformer_options: dict[str, Any], inside: Callable[[], AbstractContextManager]) -> None:
    """Make `apply_model` give the network's own output, the velocity, and run the network inside the context that `inside` makes."""
    outputs: list[Tensor] = []

    def network(executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        with inside():
            outputs.append(executor(*args, **kwargs))
        return outputs[-1]

    def apply_model(executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        executor(*args, **kwargs)
        v = outputs[-1]
        outputs.clear()
        return v if v.dtype == torch.float64 else v.float()

    wrappers = transformer_options.setdefault("wrappers", {})
    for kind, wrapper in ((WrappersMP.DIFFUSION_MODEL, network), (WrappersMP.APPLY_MODEL, apply_model)):
        # In front of all others: the first one is the outermost.
        wrappers[kind] = {KEY: [wrapper], **wrappers.get(kind, {})}

"""A MODEL whose blocks are known (families/) as a whole FlowBackbone, run by ComfyUI's own forward: levels 2 and 3 on top of comfy_flow.py.

The call goes through ComfyUI's sampling code, so that LoRAs, areas, masks, reference latents, ControlNets and other packs' patches work as
they do in a KSampler. Nothing is installed in the model: wrappers and patches travel in the options of the call, hooks on layers are taken
off again, and hook patches are registered on a clone.

Convention: at time t the model is called with sigma = t. The velocity is the network's own output, taken before ComfyUI turns it into a
denoised latent, so that it exists at t = 0 too. Latents with odd sides are padded by ComfyUI inside its forward and cut again; tokens,
and so features, keys and values, are counted with that padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor, nn

from ...core.model.attention import OWN_KEYS_VALUES, KVBank, KVSession, choose_blocks
from ...core.model.backbone import Conditioning, token_grid
from ...core.model.blocks import Block
from ...core.model.taps import Tap, last_tap, resolve_taps
from ...core.sampling.inversion import InversionSettings
from .budget import Budget
from .call_options import add_attention_patch, has_foreign_code, pytorch_attention
from .checkpoints import checkpointed
from .comfy_flow import ComfyFlow, Where
from .conditioning import ComfyConditioning, Native, with_guidance
from .gradients import Weights, differentiable, first_rows, weights_of
from .keys_values import keys_values_override, keys_values_patch, numbered, replaced_blocks
from .latent_layout import with_time_axis, without_time_axis
from .memory import Plan, Saving, Walk, read_saving
from .out_of_place import OutOfPlace, unchanged_streams, usable
from .recognise import known
from .replaced_forwards import replaced_forwards
from .rotation import PositionTables, turning_patch
from .tap_reader import Reached, TapReader


class ComfyTransformer(ComfyFlow):
    """FlowBackbone over a native MODEL, whole. Prompts are `ComfyConditioning`, or core's Conditioning.

    patcher: a MODEL of a known family; ValueError, one sentence, for another. It is cloned, never changed.
    save_memory: "auto" gives up what a short memory asks for (see memory.py), "off" nothing, "on" all but what costs most; a boolean is
    "on" or "auto", and a Plan is kept to.

    Calls work by themselves; inside `session()` the model is prepared once for all of them. Latents on the MODEL's device go in and come
    out.
    """

    level = 3

    def __init__(self, patcher: Any, *, save_memory: Saving | bool | Plan = "auto") -> None:
        super().__init__(patcher)
        self._network, self.family = known(patcher)
        self.budget = Budget(self._patcher, read_saving(save_memory))
        shape, double, single = (tell(self._network) for tell in (self.family.shape, self.family.double, self.family.single))
        self.patch, self.width, self.guidance_distilled = shape.patch, shape.width, shape.distilled
        self.double_blocks, self.single_blocks = len(double), len(single)
        self._blocks = (*double, *single)
        self._weights: Weights | None = None
        self._positions = PositionTables()

    @property
    def default_taps(self) -> tuple[Tap, ...]:
        """The family's."""
        return self.family.taps(self.double_blocks, self.single_blocks)

    def times(self, z: Tensor, steps: int) -> tuple[float, ...] | None:
        """See ComfyFlow. FLUX.1's own schedule, which shifts by the picture's size as published, is core's."""
        own = type(self._patcher.model) is comfy.model_base.Flux and "model_sampling" not in self._patcher.object_patches
        return None if own else super().times(z, steps)

    def remembering(self, z: Tensor, settings: InversionSettings, calls: int, where: Where = "auto") -> InversionSettings:
        """The same settings, with the place and the form in which an inversion of z [1, C, h, w] in that many calls remembers.

        "auto" goes by the room there is. In host memory that is too short, a number takes one byte; ValueError where that is too much.
        """
        blocks = choose_blocks(settings.kv_blocks, self.double_blocks, self.single_blocks)
        dtype = settings.kv_dtype or self.dtype
        count = 2 * calls * len(blocks) * prod(token_grid(z, self.patch)) * self.width
        place = self.budget.place(count * dtype.itemsize) if where == "auto" else where
        kept = self.budget.kept_as(count, dtype) if place == "cpu" else dtype
        return replace(settings, kv_placement=place, kv_dtype=settings.kv_dtype if kept == dtype else kept)

    def keep(self, bank: KVBank) -> KVBank:
        """The bank whose sessions calls shall get: from host memory it comes ahead of the blocks. Moved there when room is short."""
        return self.budget.keep(bank)

    def spare(self) -> None:
        """See `out_of_memory.Sparing`."""
        self.budget.spare()
        self._reserved = 0

    def advice(self) -> str:
        """See `out_of_memory.Sparing`."""
        return self.budget.advice()

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
        resolved = resolve_taps(taps, self.double_blocks, self.single_blocks)
        reader = TapReader(self._network, self.family, resolved, token_grid(z, self.patch))
        with self.session():
            try:
                self._call(z, t, self._prompt(cond).positive, guidance, kv, reader)
            except Reached:
                pass
            return reader.features

    def _call(
        self, z: Tensor, t: float, entries: Native, guidance: float | Tensor, kv: KVSession | None, reader: TapReader | None = None
    ) -> Tensor:
        """The network at (z, t): what the entries' predictions add up to, float32."""
        if len(entries) > 1 and (kv is not None or reader is not None):
            raise ValueError(
                f"this prompt has {len(entries)} entries (areas, masks or combined prompts), while features and remembered keys and values "
                "belong to one: drag with a single prompt, or let the denoising alone have the areas and turn K/V injection off"
            )
        flows = torch.is_grad_enabled() and z.requires_grad
        z = usable(z).to(self.device)
        z = z if z.dtype == torch.float64 else z.float()
        x = with_time_axis(z) if self._time_axis else z
        self._load(x, entries, self._need(self._walk(z, entries, reader), entries) if flows else 0)
        conds, options = self._prepare(entries, x)
        if self.guidance_distilled:
            conds = with_guidance(conds, guidance)
        to = options["transformer_options"]
        to["sample_sigmas"] = torch.tensor([float(t), 0.0], device=z.device)
        if self.device.type == "cpu":
            # ComfyUI's choice there spares memory in pieces and takes a third longer.
            to.setdefault("optimized_attention_override", pytorch_attention)
        foreign = has_foreign_code(to, conds)
        call = OWN_KEYS_VALUES if kv is None else kv.begin(t)
        tokens = prod(token_grid(z, self.patch))
        if call is not OWN_KEYS_VALUES and self.family.patched:
            add_attention_patch(to, keys_values_patch(call, tokens))
        if self.family.turns and (flows or self.device.type == "cpu"):
            add_attention_patch(to, turning_patch(own_encoding=not foreign))
        with ExitStack() as stack:
            stack.enter_context(self._own_output(to))
            if flows and foreign:
                stack.enter_context(replaced_forwards([self._network], _out_of_place))
            if self.family.turns and not foreign and self.device.type == "cpu":
                # Elsewhere making the tables takes less than a look at the positions, for which the device would have to be waited for.
                stack.enter_context(self._positions.remembered(self._network))
            if reader is not None:
                stack.enter_context(reader.reading(to))
                # What other packs see of a block shall be its own, and a block that is computed again has to be what it was.
                if not foreign and not (flows and self.budget.plan.checkpoint):
                    stack.enter_context(self._queries_alone(replaced_blocks(call), tokens))
            asked = call is not OWN_KEYS_VALUES and not self.family.patched
            if asked:
                stack.enter_context(numbered(self.family.double(self._network), self.family.single(self._network)))
            stack.enter_context(self._gradient(to, reader, foreign) if flows else torch.no_grad())
            if asked:
                first = partial(self.family.first_of_picture, self._network)
                before, crosses = to.get("optimized_attention_override"), self.family.crosses
                to["optimized_attention_override"] = keys_values_override(call, tokens, first, before, crosses=crosses)
            sigma = torch.full((z.shape[0],), float(t), device=z.device)
            v = comfy.samplers.calc_cond_batch(self._patcher.model, [conds], x, sigma, options)[0]
            return without_time_axis(v) if self._time_axis else v

    def _check(self, z: Tensor) -> None:
        super()._check(z)
        if self.family.whole and (z.shape[-1] % self.patch or z.shape[-2] % self.patch):
            side = self.patch * self._patcher.get_model_object("latent_format").spacial_downscale_ratio
            raise ValueError(
                f"{self._name} takes pictures whose sides are multiples of {side} px, and this latent is of {z.shape[-1]} x {z.shape[-2]} "
                "cells: crop or resize the picture"
            )

    def _queries_alone(self, blocks: frozenset[Block], tokens: int) -> AbstractContextManager:
        """While inside, these double blocks compute no keys and values for that many image tokens: the bank's take their place."""
        layers = [layer for _, index in blocks if (layer := self.family.fused(self._network, index)) is not None]
        return replaced_forwards(layers, lambda layer: first_rows(layer, self.width, tokens))

    @contextmanager
    def _gradient(self, transformer_options: dict[str, Any], reader: TapReader | None, foreign: bool) -> Iterator[None]:
        transformer_options["optimized_attention_override"] = pytorch_attention
        plan = self.budget.plan
        kept = len(self._blocks) if plan.checkpoint else 0
        if kept and reader is not None:
            # Not the block that ends the call: it is left before it returns, and its activations are the first to be read.
            kept = reader.end.index + (self.double_blocks if reader.end.kind == "single" else 0)
        self._weights = self._weights or weights_of(self._network)
        # In this order: a block has to find its streams and its parameters as the second run will find them.
        with (
            unchanged_streams(self._blocks),
            checkpointed(self._blocks[:kept], on_host=plan.checkpoints_on_host, foreign=foreign),
            differentiable(self._weights),
        ):
            yield

    def _need(self, walk: Walk, entries: Native) -> int:
        """Bytes to reserve for gradients through `walk`; a new plan is made whenever the model is about to be loaded for it."""
        if self._patcher in comfy.model_management.loaded_models() and self.budget.need(walk) <= self._reserved:
            return self.budget.need(walk)
        self._weights = None
        extra, runs = self._additional(entries)
        return self.budget.settle(walk, runs + sum(one.model_size() for one in extra))

    def drag_walk(self, cells: tuple[int, int], cond: ComfyConditioning | Conditioning) -> Walk:
        """What a drag iteration on a latent of (h, w) cells passes through, with this prompt and the taps by default."""
        return self._passed(prod(-(-side // self.patch) for side in cells), self._prompt(cond).positive, self.default_taps)

    def _walk(self, z: Tensor, entries: Native, reader: TapReader | None) -> Walk:
        return self._passed(z.shape[0] * prod(token_grid(z, self.patch)), entries, () if reader is None else reader.taps, z.shape[0])

    def _passed(self, tokens: int, entries: Native, taps: Sequence[Tap], batch: int = 1) -> Walk:
        beside = sum(prod(token_grid(x, self.patch)) for x in entries[0][1].get("reference_latents", ())) + entries[0][0].shape[1]
        end = last_tap(resolve_taps(taps, self.double_blocks, self.single_blocks)) if taps else None
        double = end.index + 1 if end and end.kind == "double" else self.double_blocks
        single = 0 if end and end.kind == "double" else end.index + 1 if end else self.single_blocks
        return Walk(tokens + batch * beside, self.width, double, single, self.dtype, len(taps))

    def _close(self) -> None:
        super()._close()
        self._weights = None
        self._positions = PositionTables()


def _out_of_place(network: nn.Module) -> Callable[..., Any]:
    forward = network.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with OutOfPlace():
            return forward(*args, **kwargs)

    return run

"""A Stable Diffusion MODEL (1.x, 2.x, XL) as a NoiseBackbone, run by ComfyUI's own forward.

The call goes through ComfyUI's sampling code, so that LoRAs, areas, masks, ControlNets and other packs' patches work as they do in a
KSampler. Nothing is installed in the model: wrappers and patches travel in the options of the call, hooks on layers are taken off again.

Convention: ComfyUI's state of timestep t is X = z·sqrt(1 + sigma_t²) with sigma_t² = (1 - a_t)/a_t; given X and sigma_t of any timestep the
network sees z and that timestep. Its own output is taken before ComfyUI turns it into a denoised latent. z is what `process_latent_in`
makes of a LATENT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from ...core.model.attention import KVCall, KVSession
from ...core.model.backbone import Conditioning
from ...core.model.unet_taps import UNetTap, last_unet_tap, resolve_unet_taps
from .budget import GIB
from .call_options import pytorch_attention
from .conditioning import ComfyConditioning, Native
from .out_of_place import OutOfPlace, usable
from .prepared_model import PreparedModel
from .tap_reader import Reached
from .unet_gradients import UNetWeights, differentiable_unet, unet_weights_of
from .unet_layout import layout_of, schedule_of, unet_of

KEY = "dragfield"
KEPT_PER_CELL = {"sd": 160_000, "sdxl": 310_000}
"""Bytes that a half-precision gradient keeps for each latent cell, by the size of the real models (reference: 0.65 GB at 512 x 512)."""


class ComfyUNet(PreparedModel):
    """NoiseBackbone over a native MODEL. Prompts are `ComfyConditioning`, or core's Conditioning.

    patcher: a MODEL; ValueError, one sentence, when it can't be dragged. It is cloned, never changed. Calls work by themselves; inside
    `session()` the model is prepared once for all of them. Latents on the MODEL's device go in and come out.
    """

    def __init__(self, patcher: Any) -> None:
        self._network = unet_of(patcher)
        self.schedule, self.prediction = schedule_of(patcher)
        super().__init__(patcher)
        self._layout = layout_of(self._network)
        self.latent_channels: int = self._network.in_channels
        self.up_resnets = self._layout.up_resnets
        self.attention_blocks = len(self._layout.attentions)
        self.decoder_attention = self._layout.decoder_attention
        self.time_embed_dim: int = self._network.time_embed[-1].out_features
        self._weights: UNetWeights | None = None
        self._caution, self._asked = 1, 0

    level, flow, _name = 3, False, "Stable Diffusion"

    @property
    def module(self) -> nn.Module:
        """The network itself, for hooks that are taken off again (a LoRA's)."""
        return self._network

    def spare(self) -> None:
        """See `out_of_memory.Sparing`: twice the reserve, so that ComfyUI offloads more weights. Nothing else is held that could go."""
        self._caution, self._reserved = 2, 0

    def advice(self) -> str:
        """See `out_of_memory.Sparing`."""
        lower = "lower work_size or the picture's size, or give ComfyUI less to keep beside it (ControlNets, other models)"
        if not self._asked:
            return lower
        free = comfy.model_management.get_free_memory(self._patcher.load_device) / GIB
        return f"an iteration takes {self._asked / GIB:.1f} GB here besides the model, and {free:.1f} GB are free without any: {lower}"

    def noise(
        self, z: Tensor, t: int | Tensor, cond: ComfyConditioning | Conditioning, *, level: int | None = None, kv: KVSession | None = None
    ) -> Tensor:
        """See NoiseBackbone. With a negative prompt and cfg, the noise guided by them; K/V sessions are then the positive one's."""
        return self.noise_and_features(z, t, cond, taps=(), level=level, kv=kv)[0]

    def features(
        self, z: Tensor, t: int | Tensor, cond: ComfyConditioning | Conditioning, *, taps: Sequence[UNetTap], kv: KVSession | None = None
    ) -> list[Tensor]:
        """See NoiseBackbone. For prompts of one entry; without guidance."""
        resolved = resolve_unet_taps(taps, self.up_resnets)
        with self.session(), self._reading(resolved, last_unet_tap(resolved, self.up_resnets)) as found:
            try:
                self._call(z, t, self._prompt(cond).positive, kv, bool(taps))
            except Reached:
                pass
            return [found[tap] for tap in resolved]

    def noise_and_features(
        self,
        z: Tensor,
        t: int | Tensor,
        cond: ComfyConditioning | Conditioning,
        *,
        taps: Sequence[UNetTap],
        level: int | None = None,
        kv: KVSession | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """See NoiseBackbone. Features are the positive prompt's."""
        prompt = self._prompt(cond)
        resolved = resolve_unet_taps(taps, self.up_resnets) if taps else ()
        with self.session():
            with self._reading(resolved, None) as found:
                out = self._call(z, t, prompt.positive, kv, bool(taps))
            if prompt.negative is not None and prompt.cfg != 1.0:
                negative = self._call(z, t, prompt.negative, None, False)
                out = negative + prompt.cfg * (out - negative)
        return self._noise_in(z, out, t if level is None else level), [found[tap] for tap in resolved]

    def time_embedding(self, t: int | Tensor) -> Tensor:
        """See NoiseBackbone."""
        from comfy.ldm.modules.diffusionmodules.util import timestep_embedding

        # In this order: leaving inference mode turns gradients on.
        with self.session(), torch.no_grad():
            # Where the weights are just now; they are few.
            times = torch.as_tensor(t, device=self._network.time_embed[0].weight.device).reshape(-1)
            return self._network.time_embed(timestep_embedding(times, self._network.model_channels).to(self.dtype)).to(self.device)

    def channels(self, tap: UNetTap) -> int:
        """See NoiseBackbone."""
        return self._layout.channels(resolve_unet_taps([tap], self.up_resnets)[0])

    def _call(self, z: Tensor, t: int | Tensor, entries: Native, kv: KVSession | None, reads: bool) -> Tensor:
        """The network's own output for z at timestep t, float32: what the entries' outputs add up to."""
        self._check(z, t, entries, kv, reads)
        flows = torch.is_grad_enabled() and z.requires_grad
        z = usable(z).to(self.device)
        z = z if z.dtype == torch.float64 else z.float()
        if flows:
            self._asked = self._kept(z)
        # What is kept comes on top of what a call takes anyway.
        self._load(z, entries, self._caution * self._asked + int(self._patcher.model.memory_required(z.shape)) if flows else 0)
        conds, options = self._prepare(entries, z)
        to = options["transformer_options"]
        kept = self.schedule.of(t, z).expand(z.shape[0], -1, -1, -1)
        sigma = ((1 - kept) / kept).sqrt().flatten()
        to["sample_sigmas"] = torch.stack([sigma[0], sigma.new_zeros(())])
        if flows or self.device.type == "cpu":
            # On a CPU ComfyUI's choice spares memory in pieces and takes longer.
            to["optimized_attention_override"] = pytorch_attention
        if kv is not None:
            to.setdefault("patches", {}).setdefault("attn1_patch", []).append(self._keys_values(kv.begin(float(t))))
        _give_own_output(to)
        with self._gradient() if flows else torch.no_grad():
            return comfy.samplers.calc_cond_batch(self._patcher.model, [conds], z / kept.sqrt(), sigma, options)[0]

    def _gradient(self):
        self._weights = self._weights or unet_weights_of(self._network)
        return differentiable_unet(self._weights)

    def _load(self, z: Tensor, entries: Native, need: int) -> None:
        before = self._reserved
        super()._load(z, entries, need)
        if self._reserved != before:
            self._weights = None

    def _kept(self, z: Tensor) -> int:
        size = KEPT_PER_CELL["sd" if self._network.num_classes is None else "sdxl"] * self._network.model_channels / 320
        return int(size * z.shape[0] * z.shape[-2] * z.shape[-1] * self.dtype.itemsize / 2)

    def _noise_in(self, z: Tensor, out: Tensor, level: int | Tensor) -> Tensor:
        if self.prediction == "epsilon":
            return out
        kept = self.schedule.of(level, out)
        return kept.sqrt() * out + (1 - kept).sqrt() * z.to(out.device, out.dtype)

    def _keys_values(self, call: KVCall) -> Callable:
        """An attn1_patch: a session is shown what is projected to keys and values, and gives it back as both; the model projects it."""

        def patch(n: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
            block = self._layout.block(extra)
            if block is None:
                return n, context, value
            return (n, *call.keys_values(block, context, lambda hidden: (hidden, hidden), 0))

        return patch

    @contextmanager
    def _reading(self, taps: Sequence[UNetTap], end: UNetTap | None) -> Iterator[dict[UNetTap, Tensor]]:
        """Fill a dict with the maps at `taps` during the next call, and end that at `end`."""
        found: dict[UNetTap, Tensor] = {}

        def hook(tap: UNetTap) -> Callable:
            def read(_: Any, __: Any, output: Tensor) -> None:
                # Without a gradient other packs may write into it behind here (FreeU does).
                found[tap] = output if tap == end or output.requires_grad else output.clone()
                if tap == end:
                    raise Reached

            return read

        with ExitStack() as hooks:
            for tap in set(taps):
                hooks.callback(self._layout.module_of(tap).register_forward_hook(hook(tap)).remove)
            yield found

    def _check(self, z: Tensor, t: int | Tensor, entries: Native, kv: KVSession | None, reads: bool) -> None:
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(
                f"this MODEL takes latents [B, {self.latent_channels}, h, w], got {list(z.shape)}: use the VAE that belongs to it"
            )
        if not torch.isfinite(z).all():
            raise ValueError("the latent holds NaN or infinite values: was it encoded in float16? Use bfloat16 or float32 for that")
        if not isinstance(t, Tensor) and (not 0 <= t < len(self.schedule) or t != int(t)):
            raise ValueError(f"timestep {t} is not in this model's schedule: use a whole number, 0 to {len(self.schedule) - 1}")
        if kv is not None and isinstance(t, Tensor) and t.numel() > 1:
            raise ValueError(f"keys and values belong to one time, got {t.numel()} timesteps: give one int with kv")
        if len(entries) > 1 and (kv is not None or reads):
            raise ValueError(
                f"this prompt has {len(entries)} entries (areas, masks or combined prompts), while features and remembered keys and values "
                "belong to one: drag with a single prompt"
            )


def _give_own_output(transformer_options: dict[str, Any]) -> None:
    """Make `apply_model` give the network's own output; round the network nothing writes in place where a gradient flows."""
    outputs: list[Tensor] = []

    def network(executor: Callable, x: Tensor, timesteps: Any, context: Any, y: Any, control: Any, *args: Any, **kwargs: Any) -> Tensor:
        # ControlNets' outputs are added in place.
        with OutOfPlace() if control is not None and torch.is_grad_enabled() else nullcontext():
            outputs.append(executor(x, timesteps, context, y, control, *args, **kwargs))
        return outputs[-1]

    def apply_model(executor: Callable, *args: Any, **kwargs: Any) -> Tensor:
        executor(*args, **kwargs)
        out = outputs.pop()
        return out if out.dtype == torch.float64 else out.float()

    wrappers = transformer_options.setdefault("wrappers", {})
    for kind, wrapper in ((WrappersMP.DIFFUSION_MODEL, network), (WrappersMP.APPLY_MODEL, apply_model)):
        # In front of all others: the first one is the outermost.
        wrappers[kind] = {KEY: [wrapper], **wrappers.get(kind, {})}

"""A diffusers `UNet2DConditionModel` (Stable Diffusion 1.x, 2.x, XL) as a NoiseBackbone.

The model's own forward runs; hooks that live as long as one call read the taps on the way and end the pass behind the
last of them. Self-attention is replaced only in calls with a K/V session: by a processor that asks the session for keys
and values and gives the stock result, bit for bit, where the session leaves them alone. Cross-attention is replaced only
where subject adapters are at work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..adapters.contract import Injections, SubjectCall
from ..model.attention import KVCall, KVSession
from ..model.backbone import Conditioning
from ..model.blocks import Block
from ..model.noise_schedule import NoiseSchedule, scaled_linear
from ..model.unet_taps import UNetTap, last_unet_tap, resolve_unet_taps

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

FACTOR = 8
"""Pixels per latent cell, for the picture size that SDXL is told."""


class DiffusersUNet:
    """NoiseBackbone over `UNet2DConditionModel`, with layers from peft or without.

    model: is put into eval mode and its parameters stop requiring gradients, for good (hand over a copy of a model that is
    still being trained); nothing else of it is changed.  schedule, prediction: as it was trained.  subjects: adapters at
    work in every call; `with_subjects` gives a second backbone over the same model.
    """

    def __init__(
        self,
        model: UNet2DConditionModel,
        *,
        schedule: NoiseSchedule | None = None,
        prediction: Literal["epsilon", "v_prediction"] = "epsilon",
        subjects: Injections | None = None,
    ) -> None:
        _check_model(model, prediction)
        self.model = model.eval().requires_grad_(False)
        self.schedule = schedule or scaled_linear()
        self.prediction = prediction
        self.latent_channels = model.config.in_channels
        self.up_resnets = tuple(len(block.resnets) for block in model.up_blocks)
        outside = sum(len(_self_attentions(part)) for part in (*model.down_blocks, model.mid_block))
        self.decoder_attention = outside
        self.attention_blocks = outside + sum(len(_self_attentions(part)) for part in model.up_blocks)
        self.time_embed_dim = model.time_embedding.linear_2.out_features
        self.subjects = subjects
        if subjects is not None:
            subjects.check({block: (attn.heads, attn.inner_dim // attn.heads) for block, attn in self._crosses().items()})

    def with_subjects(self, subjects: Injections | None) -> DiffusersUNet:
        """The same model with other adapters at work, or with none; this backbone stays as it is."""
        return DiffusersUNet(self.model, schedule=self.schedule, prediction=self.prediction, subjects=subjects)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.conv_in.weight.dtype

    def noise(
        self, z: Tensor, t: int | Tensor, cond: Conditioning, *, level: int | None = None, kv: KVSession | None = None
    ) -> Tensor:
        """See NoiseBackbone."""
        return self._noise_in(z, self._run(z, t, cond, kv), t if level is None else level)

    def features(
        self, z: Tensor, t: int | Tensor, cond: Conditioning, *, taps: Sequence[UNetTap], kv: KVSession | None = None
    ) -> list[Tensor]:
        """See NoiseBackbone."""
        resolved = resolve_unet_taps(taps, self.up_resnets)
        with self._reading(resolved, last_unet_tap(resolved, self.up_resnets)) as found:
            try:
                self._run(z, t, cond, kv)
            except _Enough:
                pass
        return [found[tap] for tap in resolved]

    def noise_and_features(
        self,
        z: Tensor,
        t: int | Tensor,
        cond: Conditioning,
        *,
        taps: Sequence[UNetTap],
        level: int | None = None,
        kv: KVSession | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """See NoiseBackbone."""
        resolved = resolve_unet_taps(taps, self.up_resnets)
        with self._reading(resolved, None) as found:
            eps = self.noise(z, t, cond, level=level, kv=kv)
        return eps, [found[tap] for tap in resolved]

    @torch.no_grad()
    def time_embedding(self, t: int | Tensor) -> Tensor:
        """See NoiseBackbone."""
        times = torch.as_tensor(t, device=self.device).reshape(-1)
        return self.model.time_embedding(self.model.time_proj(times).to(self.dtype))

    def channels(self, tap: UNetTap) -> int:
        """See NoiseBackbone."""
        (tap,) = resolve_unet_taps([tap], self.up_resnets)
        if tap.kind == "up_resnet":
            return self._resnets()[tap.index].out_channels
        block = self.model.mid_block if tap.kind == "mid" else self.model.up_blocks[tap.index]
        return block.resnets[-1].out_channels

    def _run(self, z: Tensor, t: int | Tensor, cond: Conditioning, kv: KVSession | None) -> Tensor:
        self._check(z, t, cond, kv)
        text = cond.txt.to(self.device, self.dtype).expand(z.shape[0], -1, -1)
        extra = self._size_and_pooled(z, cond) if self.model.config.addition_embed_type == "text_time" else None
        timestep = t.to(self.device) if isinstance(t, Tensor) else torch.tensor(int(t), device=self.device)
        with ExitStack() as stack:
            if kv is not None:
                call = kv.begin(float(t))
                blocks = self._blocks()
                stack.enter_context(_processed(blocks, {block: _AskForKeysValues(block, call) for block in blocks}))
            if (subject := self._subject(z, t)) is not None:
                stack.enter_context(_processed(self._crosses(), {block: _AskSubject(block, subject) for block in subject.blocks()}))
            inputs = z.to(self.device, self.dtype), timestep, text
            return self.model(*inputs, added_cond_kwargs=extra, return_dict=False)[0]

    def _subject(self, z: Tensor, t: int | Tensor) -> SubjectCall | None:
        if self.subjects is None:
            return None
        # An adapter's time is in [0, 1].
        times = torch.as_tensor(t, dtype=torch.float32) / (len(self.schedule) - 1)
        like = torch.empty(0, device=self.device, dtype=self.dtype)
        return self.subjects.begin(times, (z.shape[-2], z.shape[-1]), like=like)

    def _noise_in(self, z: Tensor, out: Tensor, level: int | Tensor) -> Tensor:
        out = out if out.dtype == torch.float64 else out.float()
        if self.prediction == "epsilon":
            return out
        kept = self.schedule.of(level, out)
        return kept.sqrt() * out + (1 - kept).sqrt() * z.to(out.device, out.dtype)

    def _size_and_pooled(self, z: Tensor, cond: Conditioning) -> dict[str, Tensor]:
        """What SDXL is told beside the prompt: the picture is whole, and as large as the latent says."""
        height, width = (FACTOR * side for side in z.shape[-2:])
        ids = torch.tensor([[height, width, 0, 0, height, width]], device=self.device, dtype=self.dtype)
        pooled = cond.pooled.to(self.device, self.dtype)
        return {"text_embeds": pooled.expand(z.shape[0], -1), "time_ids": ids.expand(z.shape[0], -1)}

    def _check(self, z: Tensor, t: int | Tensor, cond: Conditioning, kv: KVSession | None) -> None:
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(f"this model takes latents [B, {self.latent_channels}, h, w], got {list(z.shape)}")
        if not isinstance(t, Tensor):
            if not 0 <= t < len(self.schedule) or t != int(t):
                raise ValueError(f"timestep {t} is not in this model's schedule: use a whole number, 0 to {len(self.schedule) - 1}")
        elif kv is not None and t.numel() > 1:
            raise ValueError(f"keys and values belong to one time, got {t.numel()} timesteps: give one int with kv")
        width = self.model.config.cross_attention_dim
        if cond.txt.shape[-1] != width:
            raise ValueError(f"this model reads text tokens of width {width}, got {cond.txt.shape[-1]}: encode the prompt for this model")
        if self.model.config.addition_embed_type == "text_time" and cond.pooled is None:
            raise ValueError("this model needs a pooled text embedding [B, P] too: set Conditioning.pooled")

    def _resnets(self) -> list[nn.Module]:
        return [resnet for block in self.model.up_blocks for resnet in block.resnets]

    def _blocks(self) -> dict[Block, nn.Module]:
        found = [attn for part in self._parts() for attn in _self_attentions(part)]
        return {("self", i): attn for i, attn in enumerate(found)}

    def _crosses(self) -> dict[Block, nn.Module]:
        found = [block.attn2 for part in self._parts() for outer in getattr(part, "attentions", []) for block in outer.transformer_blocks]
        return {("cross", i): attn for i, attn in enumerate(found)}

    def _parts(self) -> tuple[nn.Module, ...]:
        return (*self.model.down_blocks, self.model.mid_block, *self.model.up_blocks)

    @contextmanager
    def _reading(self, taps: Sequence[UNetTap], end: UNetTap | None) -> Iterator[dict[UNetTap, Tensor]]:
        """Fill a dict with the maps at `taps` during the next forward, and end that at `end`."""
        found: dict[UNetTap, Tensor] = {}

        def hook(tap: UNetTap):
            def read(module: nn.Module, args: tuple, output: Tensor) -> None:
                found[tap] = output
                if tap == end:
                    raise _Enough

            return read

        handles = [self._module_of(tap).register_forward_hook(hook(tap)) for tap in set(taps)]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    def _module_of(self, tap: UNetTap) -> nn.Module:
        if tap.kind == "up_resnet":
            return self._resnets()[tap.index].conv2
        return self.model.mid_block if tap.kind == "mid" else self.model.up_blocks[tap.index]


class _Enough(Exception):
    """The last tap has been read."""


class _AskForKeysValues:
    """diffusers' stock self-attention, except that keys and values come from a K/V call."""

    def __init__(self, block: Block, call: KVCall) -> None:
        self.block, self.call = block, call

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        def project(hidden: Tensor) -> tuple[Tensor, Tensor]:
            return attn.to_k(hidden), attn.to_v(hidden)

        keys, values = self.call.keys_values(self.block, hidden_states, project, 0)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(hidden_states), keys, values))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](mixed))


class _AskSubject:
    """diffusers' stock cross-attention, and what subject adapters add to it."""

    def __init__(self, block: Block, call: SubjectCall) -> None:
        self.block, self.call = block, call

    def __call__(self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        given = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in given)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](self.call.mix(self.block, q, None, 0, mixed)))


@contextmanager
def _processed(blocks: dict[Block, nn.Module], processors: dict[Block, Any]) -> Iterator[None]:
    """The attentions named in `processors` with those, for as long as it lasts."""
    before = {block: blocks[block].processor for block in processors}
    try:
        for block, processor in processors.items():
            blocks[block].set_processor(processor)
        yield
    finally:
        for block, processor in before.items():
            blocks[block].set_processor(processor)


def _self_attentions(part: nn.Module) -> list[nn.Module]:
    return [block.attn1 for outer in getattr(part, "attentions", []) for block in outer.transformer_blocks]


def _check_model(model: UNet2DConditionModel, prediction: str) -> None:
    config = model.config
    if config.in_channels != config.out_channels:
        raise ValueError(
            f"this UNet takes {config.in_channels} channels and gives {config.out_channels}: a drag needs one that predicts the noise of "
            "the very latent it takes (inpainting and upscaling variants do not)"
        )
    if prediction not in ("epsilon", "v_prediction"):
        raise ValueError(f"prediction {prediction!r} is unknown: use 'epsilon' or 'v_prediction', as the model was trained")
    asks = config.addition_embed_type, config.class_embed_type, config.encoder_hid_dim_type
    if asks not in ((None, None, None), ("text_time", None, None)):
        wanted = ", ".join(filter(None, asks))
        raise ValueError(f"this UNet wants more than a prompt ({wanted}): use one of Stable Diffusion 1.x, 2.x or XL")
    if any(getattr(attn, "fused_projections", False) for part in (*model.down_blocks, *model.up_blocks) for attn in _self_attentions(part)):
        raise ValueError("this UNet's q, k and v are fused: call unfuse_qkv_projections() on it first")

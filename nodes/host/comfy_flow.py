"""Any MODEL that ComfyUI samples as a flow, as far as its velocity goes: level 1 of what a model can give.

    level 1   velocity: FireFlow, warm starts and latent warps, denoising held to the inversion's path; what `dragfield` needs
    level 2   + features at chosen places, and gradients to the latent: the optimizers, readout guidance
    level 3   + attention's keys and values: K/V injection, subject adapters

No list of classes is asked: the call goes through ComfyUI's own sampling code, with its guidance, areas, ControlNets and reference latents,
and the network's own output is what its forward returns, which for ComfyUI's flows (CONST) is the velocity. comfy_transformer.py goes
further for models whose blocks are known.

Convention: core's latents are [B, C, h, w]; a model whose latents have a time axis gets [B, C, 1, h, w]. At time t the model is called with
sigma = t.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.model.attention import KVBank, KVSession
from ...core.model.backbone import Conditioning
from ...core.sampling.inversion import InversionSettings
from .call_options import KEY
from .conditioning import ComfyConditioning, Native, with_guidance
from .latent_layout import has_time_axis, with_time_axis, without_time_axis
from .out_of_place import usable
from .prepared_model import PreparedModel
from .recognise import flow_of, name_of

Where = Literal["auto", "device", "cpu"]


class ComfyFlow(PreparedModel):
    """FlowBackbone over a native MODEL, but for features and gradients. Prompts are `ComfyConditioning`, or core's Conditioning.

    patcher: a MODEL; ValueError, one sentence, when it is not sampled as a flow. It is cloned, never changed.

    Calls work by themselves; inside `session()` the model is prepared once for all of them. Latents on the MODEL's device go in and come
    out.
    """

    level, flow = 1, True
    patch, double_blocks, single_blocks, width = 1, 0, 0, 0
    guidance_distilled = False

    def __init__(self, patcher: Any) -> None:
        flow_of(patcher)
        super().__init__(patcher)
        self.latent_channels: int = patcher.model.latent_format.latent_channels
        self._time_axis = has_time_axis(patcher)
        self._name = name_of(patcher)
        self._seen: tuple[Tensor, float, Tensor] | None = None
        self._caution = 1

    @property
    def predicted(self) -> Tensor | None:
        """The picture's latent as the last velocity of this session foretells it, z - t·v; None before the first."""
        return None if self._seen is None else self._seen[0] - self._seen[1] * self._seen[2]

    def times(self, z: Tensor, steps: int) -> tuple[float, ...] | None:
        """`steps` + 1 falling times as ComfyUI itself would sample the model, its own shift and all; None: it is core's schedule."""
        sampling = self._patcher.get_model_object("model_sampling")
        return tuple(comfy.samplers.calculate_sigmas(sampling, "simple", steps).tolist())

    def remembering(self, z: Tensor, settings: InversionSettings, calls: int, where: Where = "auto") -> InversionSettings:
        """See ComfyTransformer: there is nothing to be remembered here."""
        return settings

    def keep(self, bank: KVBank) -> KVBank:
        """See ComfyTransformer: as it is."""
        return bank

    def spare(self) -> None:
        """See `out_of_memory.Sparing`."""
        self._caution, self._reserved = 2, 0

    def advice(self) -> str:
        """See `out_of_memory.Sparing`."""
        return "lower work_size or the picture's size, or load the model as an fp8 or GGUF file"

    def velocity(
        self,
        z: Tensor,
        t: float,
        cond: ComfyConditioning | Conditioning,
        *,
        guidance: float | Tensor = 1.0,
        kv: KVSession | None = None,
    ) -> Tensor:
        """See FlowBackbone. With a negative prompt and cfg, guided by them; K/V sessions are for one entry, the positive one's."""
        self._check(z)
        prompt = self._prompt(cond)
        with self.session():
            v = self._call(z, t, prompt.positive, guidance, kv)
            if prompt.negative is not None and prompt.cfg != 1.0:
                v_negative = self._call(z, t, prompt.negative, guidance, None)
                v = v_negative + prompt.cfg * (v - v_negative)
            self._check_answer(v)
            self._seen = z.detach().to(v.device), float(t), v.detach()
            return v

    def features(self, *_: Any, **__: Any) -> list[Tensor]:
        """Raises ValueError: this is level 2."""
        raise ValueError(
            f"{self._name} gives its velocity here, not what it sees inside, which the optimizers and readout guidance read: use Drag "
            "Edit's method 'dragfield', or Warm Start and Gradient-Masked Denoise"
        )

    @torch.no_grad()
    def _call(self, z: Tensor, t: float, entries: Native, guidance: float | Tensor, kv: KVSession | None) -> Tensor:
        """The network at (z, t): what the entries' predictions add up to, float32."""
        if kv is not None:
            raise ValueError(f"{self._name} takes no keys and values from elsewhere here: turn K/V injection off")
        z = usable(z).to(self.device)
        z = z if z.dtype == torch.float64 else z.float()
        x = with_time_axis(z) if self._time_axis else z
        self._load(x, entries, self._reserve(x))
        conds, options = self._prepare(entries, x)
        if any("guidance" in cond["model_conds"] for cond in conds):
            conds = with_guidance(conds, guidance)
        to = options["transformer_options"]
        to["sample_sigmas"] = torch.tensor([float(t), 0.0], device=x.device)
        with self._own_output(to):
            sigma = torch.full((x.shape[0],), float(t), device=x.device)
            v = comfy.samplers.calc_cond_batch(self._patcher.model, [conds], x, sigma, options)[0]
        return without_time_axis(v) if self._time_axis else v

    @contextmanager
    def _own_output(self, transformer_options: dict[str, Any]) -> Iterator[None]:
        """While inside, `apply_model` gives what the network's forward returned, the velocity, instead of a denoised latent."""
        outputs: list[Any] = []

        def apply_model(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
            outputs.clear()
            executor(*args, **kwargs)
            if len(outputs) != 1 or not isinstance(outputs[0], Tensor):
                raise ValueError(f"{self._name} does not answer with one velocity a call, so it can't be dragged: use another model")
            v = outputs.pop()
            return v if v.dtype == torch.float64 else v.float()

        wrappers = transformer_options.setdefault("wrappers", {})
        wrappers[WrappersMP.APPLY_MODEL] = {KEY: [apply_model], **wrappers.get(WrappersMP.APPLY_MODEL, {})}
        hook = self._patcher.model.diffusion_model.register_forward_hook(lambda _, __, output: outputs.append(output))
        try:
            yield
        finally:
            hook.remove()

    def _reserve(self, x: Tensor) -> int:
        """Bytes for such a call where ComfyUI's own reserve was too little: twice that once memory ran out."""
        return 0 if self._caution == 1 else self._caution * int(self._patcher.model.memory_required([2 * x.shape[0], *x.shape[1:]]))

    def _check_answer(self, v: Tensor) -> None:
        # Once a session: a look at the values waits for the device.
        if self._seen is None and not v.detach().isfinite().all():
            raise ValueError(
                f"{self._name} answered with NaN or infinite values, computing in {str(self.dtype).removeprefix('torch.')}: load it in "
                "bfloat16 or float32 (weight_dtype, or start ComfyUI with --bf16-unet)"
            )

    def _close(self) -> None:
        super()._close()
        self._seen = None

    def _check(self, z: Tensor) -> None:
        if z.ndim != 4 or z.shape[1] != self.latent_channels:
            raise ValueError(
                f"this MODEL takes latents [B, {self.latent_channels}, h, w], got {list(z.shape)}: use the VAE that belongs to it"
            )
        if not z.detach().isfinite().all():
            raise ValueError(
                "the latent holds NaN or infinite values: was it sampled or encoded in float16? Use bfloat16 or float32 for that"
            )


def needs_level(backbone: Any, level: int, what: str, instead: Sequence[str] = ()) -> None:
    """Raises ValueError for a backbone of a lower level. what: who asks."""
    if backbone.level < level:
        wanted = "features inside of the model and gradients" if level == 2 else "the model's keys and values"
        raise ValueError(
            f"{what} needs {wanted}, which {backbone._name} does not give here: use {' or '.join(instead) or 'method dragfield'}"
        )

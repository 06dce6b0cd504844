"""LoRA of a single picture: a few small matrices that teach the model this very subject before it is dragged (DirectDrag section 9).

    lora = train_lora(backbone, unet, autoencoder.encode(image), cond)
    with applied(unet, lora):
        edit = directdrag(backbone, ...)
    save_file(to_state(lora), "subject.safetensors")       # ComfyUI, diffusers and others load it as any LoRA

A layer W becomes W + scale·up·down, by a hook that lives as long as the context manager; the model itself is never written to. Works on
anything with linear layers of the named kinds, UNet or transformer.

Convention: down is [rank, in], up is [out, rank], both float32; scale 1 unless the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.backbone import Conditioning, FlowBackbone, NoiseBackbone

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Query, key, value and output of every self- and cross-attention."""

HALF_SCALE = 1024.0
"""What the loss is multiplied by in float16, whose smallest numbers a gradient of this size would fall below."""


@dataclass(frozen=True)
class LoraSettings:
    """How a picture is learnt; the defaults are the published ones, save `whole`.

    rank: of the matrices.  steps, batch, learning_rate, weight_decay: of AdamW.  targets: name endings of the layers.
    whole: learn the picture as it will be edited; False crops a random square of it for each sample of the batch, once, as published.
    seed: of matrices, crops, noise and times.
    """

    rank: int = 16
    steps: int = 70
    batch: int = 4
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    targets: tuple[str, ...] = ATTENTION
    whole: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"LoRA {name} = {getattr(self, name)} makes no sense: use 1 or more")
        if not self.learning_rate > 0:
            raise ValueError(f"LoRA learning_rate = {self.learning_rate} teaches nothing: use more than 0 (published: 0.0005)")


@dataclass(frozen=True, eq=False)
class Lora:
    """layers: name of a linear layer -> (down [rank, in], up [out, rank])."""

    layers: dict[str, tuple[Tensor, Tensor]]

    @property
    def rank(self) -> int:
        return next(iter(self.layers.values()))[0].shape[0]

    @property
    def parameters(self) -> list[Tensor]:
        return [x for pair in self.layers.values() for x in pair]


def fresh(module: nn.Module, settings: LoraSettings = LoraSettings()) -> Lora:
    """A LoRA that changes nothing yet: down from N(0, 1/rank²), up zero, on every layer of `module` that `settings.targets` names."""
    named = {name: layer for name, layer in module.named_modules() if _is_target(name, layer, settings.targets)}
    if not named:
        raise ValueError(f"no linear layer of this model ends in {', '.join(settings.targets)}: name others as LoRA targets")
    generator = torch.Generator().manual_seed(settings.seed)
    layers = {}
    for name, layer in named.items():
        device = layer.weight.device
        down = torch.randn(settings.rank, layer.in_features, generator=generator) / settings.rank
        layers[name] = down.to(device), torch.zeros(layer.out_features, settings.rank, device=device)
    return Lora(layers)


@contextmanager
def applied(module: nn.Module, lora: Lora, scale: float = 1.0) -> Iterator[None]:
    """While inside, the layers of `module` that `lora` names give W·x + scale·up·(down·x); afterwards all is as it was.

    Raises ValueError for a layer that the model does not have.
    """
    found = dict(module.named_modules())
    if unknown := [name for name in lora.layers if name not in found]:
        raise ValueError(f"this LoRA is of another model: {len(unknown)} layers that it names are not here, {unknown[0]} among them")
    handles = []
    try:
        for name, pair in lora.layers.items():
            handles.append(found[name].register_forward_hook(_adding(*pair, scale)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def train_lora(
    backbone: NoiseBackbone | FlowBackbone,
    module: nn.Module,
    z0: Tensor,
    cond: Conditioning,
    settings: LoraSettings = LoraSettings(),
    *,
    report: Callable[[int, int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Lora:
    """Learn the latents z0 [N, C, h, w] (one picture, or several views of it) with the prompt `cond`.

    module: what `backbone` runs, whose layers are taught.  report(done, total, loss): told after every step.  A stop gives what has
    been learnt so far. Noise models learn to predict the noise, at times uniform over the schedule; flow models the velocity, at
    logit-normal times.
    """
    if z0.ndim != 4 or len(z0) < 1:
        raise ValueError(f"a LoRA learns latents [N, C, h, w], got {list(z0.shape)}: encode the picture first")
    lora = fresh(module, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    views = _views(z0.detach().float().cpu(), settings, generator)
    weights = [x.requires_grad_(True) for x in lora.parameters]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    loss_of = _noise_loss if isinstance(backbone, NoiseBackbone) else _flow_loss
    boost = HALF_SCALE if backbone.dtype == torch.float16 else 1.0
    with applied(module, lora), torch.enable_grad():
        for done in range(1, settings.steps + 1):
            if should_stop is not None and should_stop():
                break
            loss = loss_of(backbone, views, cond, generator)
            gradients = torch.autograd.grad(loss * boost, weights)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient / boost
            optimiser.step()
            if report is not None:
                report(done, settings.steps, float(loss.detach()))
    return Lora({name: (down.detach(), up.detach()) for name, (down, up) in lora.layers.items()})


def to_state(lora: Lora, prefix: str = "unet") -> dict[str, Tensor]:
    """The LoRA as the state dict of an ordinary LoRA file, in float16.

    prefix: "unet" writes the widespread names lora_unet_…lora_down.weight, lora_up.weight and alpha; "transformer" diffusers' names for
    FLUX, transformer.….lora_A.weight and lora_B.weight.
    """
    if prefix not in ("unet", "transformer"):
        raise ValueError(f"LoRA prefix {prefix!r} is unknown: use 'unet' or 'transformer'")
    state = {}
    for name, (down, up) in lora.layers.items():
        key, (first, second) = _keys(name, prefix)
        state[f"{key}.{first}.weight"] = down.half().cpu().contiguous()
        state[f"{key}.{second}.weight"] = up.half().cpu().contiguous()
        if prefix == "unet":
            state[f"{key}.alpha"] = torch.tensor(float(down.shape[0]), dtype=torch.float16)
    return state


def from_state(state: Mapping[str, Tensor], module: nn.Module, prefix: str = "unet") -> Lora:
    """What `to_state` gave, for this model. Raises ValueError when a key belongs to none of its layers."""
    layers, left = {}, dict(state)
    for name, layer in module.named_modules():
        key, (first, second) = _keys(name, prefix)
        if f"{key}.{first}.weight" in left and hasattr(layer, "in_features"):
            device = layer.weight.device
            down, up = (left.pop(f"{key}.{part}.weight").float().to(device) for part in (first, second))
            alpha = left.pop(f"{key}.alpha", None)
            layers[name] = down, up if alpha is None else up * (float(alpha) / down.shape[0])
    if left or not layers:
        named = next(iter(left), "nothing")
        raise ValueError(f"this LoRA is of another model: {len(left)} of its keys belong to no layer here, {named} among them")
    return Lora(layers)


def _noise_loss(backbone: NoiseBackbone, views: Tensor, cond: Conditioning, generator: torch.Generator) -> Tensor:
    """Mean squared error of the predicted noise, one time a sample."""
    t = torch.randint(len(backbone.schedule), (len(views),), generator=generator)
    noise = torch.randn(views.shape, generator=generator)
    kept = backbone.schedule.of(t, views)
    # Hosts build a graph only where the latent asks for one.
    z = (kept.sqrt() * views + (1 - kept).sqrt() * noise).to(backbone.device).requires_grad_()
    eps = backbone.noise(z, t.to(backbone.device), cond)
    return F.mse_loss(eps, noise.to(eps))


def _flow_loss(backbone: FlowBackbone, views: Tensor, cond: Conditioning, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity, one time a step, as a flow backbone takes one."""
    t = float(torch.sigmoid(torch.randn((), generator=generator)))
    noise = torch.randn(views.shape, generator=generator)
    v = backbone.velocity(torch.lerp(views, noise, t).to(backbone.device).requires_grad_(), t, cond)
    return F.mse_loss(v, (noise - views).to(v))


def _views(z0: Tensor, settings: LoraSettings, generator: torch.Generator) -> Tensor:
    """[batch, C, h, w]: the latents in turn, whole, or a square of each cut at random."""
    batch = z0[torch.arange(settings.batch) % len(z0)]
    if settings.whole:
        return batch
    side = min(z0.shape[-2:])
    corners = [[int(torch.randint(length - side + 1, (), generator=generator)) for length in z0.shape[-2:]] for _ in batch]
    return torch.stack([z[:, y : y + side, x : x + side] for z, (y, x) in zip(batch, corners, strict=True)])


def _adding(down: Tensor, up: Tensor, scale: float) -> Callable[[nn.Module, tuple, Tensor], Tensor]:
    def add(layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
        # A host that is short of memory leaves a layer's weights elsewhere than it computes.
        hidden = F.linear(args[0], down.to(args[0]))
        return output + scale * F.linear(hidden, up.to(hidden)).to(output.dtype)

    return add


def _is_target(name: str, layer: nn.Module, targets: tuple[str, ...]) -> bool:
    # By what it has, not by its class: quantised layers are not nn.Linear.
    return hasattr(layer, "in_features") and any(name == end or name.endswith("." + end) for end in targets)


def _keys(name: str, prefix: str) -> tuple[str, tuple[str, str]]:
    if prefix == "unet":
        return "lora_unet_" + name.replace(".", "_"), ("lora_down", "lora_up")
    return f"transformer.{name}", ("lora_A", "lora_B")

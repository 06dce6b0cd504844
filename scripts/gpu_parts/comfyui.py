"""In a ComfyUI (COMFYUI_PATH): models of real sizes with random weights, as its loaders keep them, and the tests on the card."""

from __future__ import annotations

import gc
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dragfield.benchmarks.cost import seconds_of
from dragfield.core.field import DragField
from dragfield.core.field.masks import adaptive_gradient_mask, to_latent
from dragfield.core.model.attention import KVBank, choose_blocks
from dragfield.core.model.backbone import Conditioning
from dragfield.core.optimise.region_drag import RegionDragSettings, region_drag
from dragfield.core.sampling.inversion import InversionSettings
from dragfield.core.sampling.sampler import FlowSampler

from . import Row
from .flux import picture
from .scale import Scale, described

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
TIME = 0.856
TESTS = (
    "gradients", "memory", "family", "any_flow", "known_families", "loaded_files", "same_as_core", "unet_family", "unet", "no_trace",
    "odd_sizes", "positions", "subject_patches", "subject_unet", "subject_weights", "graph_is_edit", "nodes_unet", "nodes_unet_region",
    "demo_model",
)  # fmt: skip
"""Modules of tests/host that start no server."""
OUTCOME = re.compile(r"\b(PASSED|FAILED|ERROR|SKIPPED)\b")
TOLD_EVERY = 25
"""Tests between two rows that say how many have passed."""


def comfyui() -> str:
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        raise SystemExit("COMFYUI_PATH does not name a ComfyUI: this part needs one")
    return path


def start(device: torch.device) -> None:
    """ComfyUI in this process, as tests/host start it."""
    if device.type == "cuda":
        os.environ["COMFYUI_GPU"] = "1"
    sys.path.insert(0, str(ROOT / "tests" / "host"))
    from conftest import start_comfyui

    start_comfyui(comfyui())


def iteration(scale: Scale, device: torch.device) -> Iterator[Row]:
    """FLUX.1-dev's size: each precision of the weights, each saving."""
    start(device)
    from dragfield.nodes.host.memory import PLANS

    yield described(device)
    for precision, model in flux_models(scale):
        for side in scale.sides:
            for plan in PLANS:
                yield {"weights": precision, **measured(model, side, scale, plan)}


def limits(scale: Scale, device: torch.device) -> Iterator[Row]:
    """A smaller card is simulated: ComfyUI is told of less memory, and torch may not take more. Weights begin in host memory."""
    start(device)
    yield described(device)
    for precision, model in flux_models(scale):
        for gigabytes in scale.gigabytes:
            with smaller_card(device, gigabytes):
                yield {"card_gib": gigabytes, "weights": precision, **measured(model, max(scale.sides), scale, "auto")}
                unload()


def dynamic(scale: Scale, device: torch.device) -> Iterator[Row]:
    """ComfyUI's dynamic memory management (comfy-aimdo), for which weights come when they are needed; for one simulated card."""
    import comfy_aimdo.control

    gigabytes = sorted(scale.gigabytes)[len(scale.gigabytes) // 2]
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        comfy_aimdo.control.init(simple_vram_headroom=max(0, total - gigabytes * GIB))
    start(device)
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher

    if device.type == "cuda":
        devices = [(each.index, 0) for each in comfy.model_management.get_all_torch_devices()]
        if not comfy_aimdo.control.init_devices(devices):
            raise SystemExit("comfy-aimdo does not work here")
        comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
        comfy.memory_management.aimdo_enabled = True
    yield described(device)
    for precision, model in flux_models(scale):
        yield {"card_gib": gigabytes, "weights": precision, **measured(model, max(scale.sides), scale, "auto")}


def families(scale: Scale, device: torch.device) -> Iterator[Row]:
    """FLUX.2-klein-4B's and Z-Image's sizes."""
    start(device)
    import comfy.supported_models

    yield described(device)
    kinds = {
        "FLUX.2-klein-4B": (comfy.supported_models.Flux2, scale.klein, scale.klein["context_in_dim"]),
        "Z-Image": (comfy.supported_models.ZImage, scale.z_image, scale.z_image["cap_feat_dim"]),
    }
    for name, (kind, config, width) in kinds.items():
        model = made(kind(dict(config)), scale.dtype, None)
        for side in scale.sides:
            yield {"model": name, **measured(model, side, scale, "auto", width=width)}
        unload()
        del model


def host_tests(scale: Scale, device: torch.device) -> Iterator[Row]:
    """The modules of tests/host that need no server, by as many workers as pytest-xdist gives."""
    yield described(device)
    names = TESTS if device.type == "cuda" else TESTS[:2]
    command = [sys.executable, "-u", "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", "--tb=short"]
    command += [str(ROOT / "tests" / "host" / f"test_{name}.py") for name in names]
    if importlib.util.find_spec("xdist") and device.type == "cuda":
        command += ["-n", str(min(8, os.cpu_count() or 1)), "--dist", "loadfile"]
    # Workers that share the processor: two threads each.
    given = {**os.environ, "COMFYUI_PATH": comfyui(), "OMP_NUM_THREADS": "2"}
    if device.type == "cuda":
        given["COMFYUI_GPU"] = "1"
    running = subprocess.Popen(command, cwd=ROOT, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    counts: Counter[str] = Counter()
    for line in running.stdout:
        print(line, end="", file=sys.stderr, flush=True)
        # A test's own line, not the summary's behind all of them. Told as it comes: this may be cut off at any time.
        if (found := OUTCOME.search(line)) and not line.startswith(("FAILED", "ERROR")):
            counts[found[1].lower()] += 1
            if found[1] in ("FAILED", "ERROR"):
                yield {"ok": False, "test": line.strip()[:300]}
            elif sum(counts.values()) % TOLD_EVERY == 0:
                yield dict(counts)
    yield {"ok": running.wait() == 0, **counts}


def measured(model: Any, side: int, scale: Scale, saving: Any, *, width: int | None = None) -> Row:
    """Seconds of a call and of a drag iteration, and the most that torch held, in a session as nodes have it."""
    from dragfield.nodes.host.comfy_transformer import ComfyTransformer
    from dragfield.nodes.host.conditioning import as_native

    backbone = ComfyTransformer(model, save_memory=saving)
    device = backbone.device
    prompt = as_native(Conditioning(torch.randn(1, scale.text, width or scale.flux["joint_attention_dim"]), pooled(scale, width)))
    cells = side // 16 * backbone.patch
    drag = disc_drag(side)
    restart_peak(device)
    with torch.inference_mode(), backbone.session():
        z = torch.randn(1, backbone.latent_channels, cells, cells, device=device)
        remembered = backbone.remembering(z, InversionSettings(), 1)
        blocks = choose_blocks("auto", backbone.double_blocks, backbone.single_blocks)
        bank = KVBank(blocks, dtype=remembered.kv_dtype, placement=remembered.kv_placement)
        with torch.no_grad():
            backbone.velocity(z, TIME, prompt, kv=bank.capture())

            def call() -> None:
                backbone.velocity(z, TIME, prompt, guidance=3.5)

            velocity = min(seconds_of(call, device) for _ in range(2))
        movable = to_latent(adaptive_gradient_mask(drag), (cells, cells)).to(device)
        settings = RegionDragSettings(transport_steps=1000)
        sampler = FlowSampler(backbone, prompt, settings.guidance, backbone.keep(bank).hold())
        steps = region_drag(sampler, z, TIME, DragField.from_drag(drag), movable, settings)
        next(steps)
        seconds = min(seconds_of(lambda: next(steps), device) for _ in range(min(3, scale.repeats)))
        steps.close()
        plan = backbone.budget.plan
    given_up = [name for name in ("bank_on_host", "checkpoint", "checkpoints_on_host") if getattr(plan, name)]
    return {
        "side": side, "velocity_s": velocity, "iteration_s": seconds, "peak_gib": peak(device) / GIB,
        "given_up": " ".join(given_up) or "nothing",
    }  # fmt: skip


def pooled(scale: Scale, width: int | None) -> torch.Tensor | None:
    return torch.randn(1, scale.flux["pooled_projection_dim"]) if width is None else None


def disc_drag(side: int) -> Any:
    from dragfield.core.instruction.operations import Drag, RegionOperation

    disc = (picture(side)[0] == picture(side).max()).all(dim=0).numpy()
    return Drag((side, side), (RegionOperation(disc, "relocation", (0.6 * side, 0.5 * side)),))


def flux_models(scale: Scale) -> Iterator[tuple[str, Any]]:
    """MODELs of FLUX.1's class, one at a time: weights in fp8 and cast for each layer, as ComfyUI does it, then in the models' dtype."""
    import comfy.supported_models

    from dragfield.nodes.host.demo_model import native_config

    for precision, stored, computed in (("fp8", torch.float8_e4m3fn, scale.dtype), ("bf16", scale.dtype, None)):
        yield precision, made(comfy.supported_models.Flux(native_config(scale.flux)), stored, computed)
        unload()


def made(config: Any, stored: torch.dtype, computed: torch.dtype | None) -> Any:
    """A MODEL of that configuration, its random weights in host memory where ComfyUI would keep them until they are needed."""
    import comfy.model_management
    import comfy.model_patcher

    config.set_inference_dtype(stored, computed)
    offload = comfy.model_management.unet_offload_device()
    model = config.get_model({}, device=torch.device("meta"))
    pool = 0.02 * torch.randn(2**22, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, parameter in model.diffusion_model.named_parameters():
            replace(model.diffusion_model, name, numbers(pool, parameter, stored).to(offload))
        for name, buffer in model.diffusion_model.named_buffers():
            parent, _, last = name.rpartition(".")
            model.diffusion_model.get_submodule(parent).register_buffer(last, torch.zeros(buffer.shape, dtype=buffer.dtype, device=offload))
    return comfy.model_patcher.CoreModelPatcher(model, load_device=comfy.model_management.get_torch_device(), offload_device=offload)


def numbers(pool: torch.Tensor, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """As many random numbers as `like` has; ones for a norm's scale."""
    if like.ndim < 2:
        return torch.full(like.shape, 1.0 if like.ndim == 1 else 0.0).to(dtype)
    short = pool.to(dtype)
    return short.repeat(-(-like.numel() // len(short)))[: like.numel()].view(like.shape)


def replace(network: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, torch.nn.Parameter(value, requires_grad=False))


def unload() -> None:
    import comfy.model_management

    comfy.model_management.unload_all_models()
    gc.collect()
    comfy.model_management.soft_empty_cache(True)


@contextmanager
def smaller_card(device: torch.device, gigabytes: int) -> Iterator[None]:
    """While inside, there are that many GiB, for ComfyUI and for torch. Elsewhere than on a card: nothing is changed."""
    import comfy.model_management

    if device.type != "cuda":
        yield
        return
    total, limit = torch.cuda.get_device_properties(device).total_memory, gigabytes * GIB
    ask: Callable = comfy.model_management.get_free_memory

    def free(dev: torch.device | None = None, torch_free_too: bool = False) -> Any:
        if dev is not None and torch.device(dev).type == "cpu":
            return ask(dev, torch_free_too)
        left = max(0, limit - torch.cuda.memory_allocated(device))
        return (left, left) if torch_free_too else left

    comfy.model_management.get_free_memory = free
    # By its number: that function takes no device without one.
    number = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), number)
    try:
        yield
    finally:
        comfy.model_management.get_free_memory = ask
        torch.cuda.set_per_process_memory_fraction(1.0, number)


def restart_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0

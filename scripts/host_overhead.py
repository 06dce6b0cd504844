"""What an edit costs through a ComfyUI MODEL, against core's own backbone.

    OMP_NUM_THREADS=1 COMFYUI_PATH=... python scripts/host_overhead.py [REPEATS [edits]]

Single calls and whole edits (or these alone) on the demo model, with the same weights, settings and picture on both sides, the MODEL in
inference mode and with progress as nodes run it. The two sides take turns in one process. Seconds are of the processor, so that what else
the machine does counts little; a ratio, host over core, is the median of those of the turns, which a machine that is slower for a while
leaves alone: 1.10 is ten percent slower. Memory is the most that tensors hold beyond what there was. Run it with the Python that ComfyUI
runs with, plus diffusers, and this package importable.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from conftest import start_comfyui  # noqa: E402

start_comfyui(os.environ["COMFYUI_PATH"])

import numpy as np  # noqa: E402
import torch  # noqa: E402

from dragfield.benchmarks.cost import peak_memory  # noqa: E402
from dragfield.core.demo import flux, text  # noqa: E402
from dragfield.core.demo.cases import sample_case  # noqa: E402
from dragfield.core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW  # noqa: E402
from dragfield.core.edits.dragfield import dragfield  # noqa: E402
from dragfield.core.edits.dragflow import dragflow  # noqa: E402
from dragfield.core.model.attention import KVBank, choose_blocks  # noqa: E402
from dragfield.core.model.taps import default_taps  # noqa: E402
from dragfield.nodes.host.autoencoder import ComfyAutoencoder  # noqa: E402
from dragfield.nodes.host.comfy_transformer import ComfyTransformer  # noqa: E402
from dragfield.nodes.host.conditioning import as_native  # noqa: E402
from dragfield.nodes.host.demo_model import load_demo_model  # noqa: E402
from dragfield.nodes.host.progress import ComfyProgress  # noqa: E402

T, CALLS = 0.7, 20
Work = Callable[[], object]


class Sides:
    """The demo model on both sides, and a picture of 256 px with its drag."""

    def __init__(self) -> None:
        case = sample_case(np.random.default_rng(5), "relocation")
        self.drag, self.image = case.drag, torch.from_numpy(case.source.copy()).permute(2, 0, 1)[None]
        self.prompt = text.embed([self.drag.background_prompt])
        loaded = flux.load()
        self.core, self.autoencoder = loaded.backbone, loaded.autoencoder
        self.model, _, self.vae = load_demo_model()

    def edit(self, method: Callable, settings: object) -> tuple[Work, Work]:
        """A whole edit: core's, and ComfyUI's."""

        def core() -> object:
            return method(self.core, self.autoencoder, self.image, self.drag, self.prompt, settings=settings)

        def host() -> object:
            with torch.inference_mode():
                backbone = ComfyTransformer(self.model)
                progress = ComfyProgress(self.model, backbone=backbone)
                vae, prompt = ComfyAutoencoder(self.vae, self.model), as_native(self.prompt)
                with backbone.session():
                    return method(backbone, vae, self.image.clone(), self.drag, prompt, settings=settings, run=progress.run())

        return core, host

    def calls(self, backbone: object, kept: str, gradient: bool) -> Work:
        """One call of a backbone: a drag iteration's with its gradient, or a denoising's."""
        z = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
        prompt = as_native(self.prompt) if isinstance(backbone, ComfyTransformer) else self.prompt
        bank = KVBank(choose_blocks(kept, backbone.double_blocks, backbone.single_blocks))
        with torch.no_grad():
            backbone.velocity(z, T, prompt, kv=bank.capture())
        kv, taps = bank.hold() if bank.blocks else None, default_taps(backbone.double_blocks)

        def drag() -> object:
            leaf = z.clone().requires_grad_()
            found = backbone.features(leaf, T, prompt, taps=taps, guidance=3.5, kv=kv)
            return torch.autograd.grad(sum(f.square().mean() for f in found), leaf)

        def denoise() -> object:
            with torch.no_grad():
                return backbone.velocity(z, T, prompt, guidance=3.5, kv=kv)

        return drag if gradient else denoise


def compared(core: Work, host: Work, repeats: int) -> tuple[float, float, float]:
    """Median processor seconds of both and of their ratio, taking turns after one of each that doesn't count."""
    taken: dict[Work, list[float]] = {core: [], host: []}
    for turn in range(repeats + 1):
        for work in (core, host) if turn % 2 else (host, core):
            began = time.process_time()
            work()
            taken[work].append(time.process_time() - began)
    of_core, of_host = taken[core][1:], taken[host][1:]
    return median(of_core), median(of_host), median(b / a for a, b in zip(of_core, of_host, strict=True))


def peaks(core: Work, host: Work) -> tuple[float, float, float]:
    """MiB of both, and their ratio."""
    a, b = (peak_memory(work, torch.device("cpu")) / 2**20 for work in (core, host))
    return a, b, b / a


def said(name: str, found: tuple[float, float, float], unit: str) -> None:
    core, host, ratio = found
    print(f"{name:42} core {core:9.4g} {unit:3} host {host:9.4g} {unit:3} ratio {ratio:.3f}", flush=True)


def calls(sides: Sides, repeats: int) -> None:
    host = ComfyTransformer(sides.model)
    with host.session():
        for kept in ("auto", "non_ridge"):
            for what, gradient in (("drag iteration", True), ("denoising call", False)):
                works = [sides.calls(backbone, kept, gradient) for backbone in (sides.core, host)]
                said(f"{what}, K/V {kept}", compared(*works, CALLS * repeats // 5), "s")
                if gradient:
                    said(f"{what}, K/V {kept}, memory", peaks(*works), "MiB")


def edits(sides: Sides, repeats: int) -> None:
    few = replace(DRAGFLOW, drag=replace(DRAGFLOW.drag, transport_steps=1, intensify_steps=1))
    for name, method, settings in (("dragfield", dragfield, DRAGFIELD), ("dragflow", dragflow, DRAGFLOW)):
        said(f"{name}, a whole edit", compared(*sides.edit(method, settings), repeats), "s")
        # More iterations take no more memory.
        said(f"{name}, memory", peaks(*sides.edit(method, few if name == "dragflow" else settings)), "MiB")


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    sides = Sides()
    if "edits" not in sys.argv:
        calls(sides, repeats)
    edits(sides, repeats)


if __name__ == "__main__":
    main()

"""`dragfield train`: the demo models, from nothing but drawn scenes. Stopped trainings go on where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import choose_device, out

app = typer.Typer(no_args_is_help=True, help="Train the demo models. A stopped training goes on where it was.")

Folder = Annotated[Path, typer.Option(help="Checkpoint, log and exported weights; a training found there goes on.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps in all, earlier starts included.")]
Minutes = Annotated[float, typer.Option(min=0, help="Stop after this long, to be continued.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto takes a GPU if there is one.")]


@app.command()
def autoencoder(
    folder: Folder = Path("runs/autoencoder"),
    steps: Steps = 6000,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train the 16-channel autoencoder on crops of drawn scenes."""
    from ..core.demo.train_autoencoder import train

    weights = train(folder, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def flux(
    folder: Folder = Path("runs/flux"),
    vae: Annotated[Path, typer.Option(help="Weights of the trained autoencoder.")] = Path("runs/autoencoder/weights"),
    steps: Steps = 12000,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train the FLUX transformer on the autoencoder's latents."""
    from ..core.demo.train_flux import train

    if not vae.is_dir():
        raise ValueError(f"--vae {vae} is no folder; train one first: dragfield train autoencoder")
    weights = train(folder, vae, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")

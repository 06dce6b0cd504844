"""`dragfield train`: the demo models, from nothing but drawn scenes. Stopped trainings go on where they were."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import choose_device, out

app = typer.Typer(no_args_is_help=True, help="Train the demo models. A stopped training goes on where it was.")

Folder = Annotated[Path, typer.Option(help="Checkpoint, log and exported weights; a training found there goes on.")]
Vae = Annotated[Path, typer.Option(help="Weights of the trained autoencoder.")]
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
    """Train the 16-channel autoencoder of demo-flux on crops of drawn scenes."""
    from ..core.demo.train_autoencoder import train

    weights = train(folder, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def unet_autoencoder(
    folder: Folder = Path("runs/unet_autoencoder"),
    steps: Steps = 6000,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train the 4-channel autoencoder of demo-unet on crops of drawn scenes."""
    from ..core.demo.train_autoencoder import train
    from ..core.demo.unet import AUTOENCODER, LATENT_NOISE

    chosen = {"config": AUTOENCODER, "latent_noise": LATENT_NOISE}
    weights = train(folder, **chosen, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def flux(
    folder: Folder = Path("runs/flux"),
    vae: Vae = Path("runs/autoencoder/weights"),
    steps: Steps = 12000,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train the FLUX transformer on the autoencoder's latents."""
    from ..core.demo.train_flux import train

    _needs(vae, "autoencoder")
    weights = train(folder, vae, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def few_steps(
    folder: Folder = Path("runs/few_steps"),
    teacher: Annotated[Path | None, typer.Option(help="Folder of the demo model to learn from; left out: the bundled one.")] = None,
    student_steps: Annotated[int, typer.Option(min=1, help="Steps from noise to the picture that it shall walk.")] = 4,
    steps: Steps = 500,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train a student of demo-flux that draws in few steps, to measure what drags make of distilled models."""
    from ..core.demo.flux import WEIGHTS
    from ..core.demo.train_few_steps import train

    chosen = {"student_steps": student_steps, "steps": steps, "minutes": minutes, "device": choose_device(device)}
    trained = train(folder, teacher or WEIGHTS, **chosen, report=out.print)
    out.print(f"weights in {trained}")


@app.command()
def adapter(
    folder: Folder = Path("runs/adapter"),
    flux: Annotated[Path, typer.Option(help="Weights of the trained transformer.")] = Path("runs/flux/transformer"),
    vae: Vae = Path("runs/autoencoder/weights"),
    steps: Steps = 1500,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train demo-flux's subject adapter on crops of the pictures."""
    from ..core.demo.train_adapter import train

    _needs(vae, "autoencoder")
    _needs(flux, "flux", "--flux")
    weights = train(folder, flux, vae, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def unet(
    folder: Folder = Path("runs/unet"),
    vae: Vae = Path("runs/unet_autoencoder/weights"),
    steps: Steps = 12000,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train the UNet on its autoencoder's latents."""
    from ..core.demo.train_unet import train

    _needs(vae, "unet-autoencoder")
    weights = train(folder, vae, steps=steps, minutes=minutes, device=choose_device(device), report=out.print)
    out.print(f"weights in {weights}")


@app.command()
def readout(
    folder: Annotated[Path, typer.Option(help="Where the head is written, readout.safetensors.")] = Path("runs/readout"),
    model: Annotated[Literal["unet", "flux"], typer.Option(help="The demo model that the head shall read.")] = "unet",
    weights: Annotated[Path | None, typer.Option(help="Folder of that model; left out: the bundled one.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Videos, or a folder of frames for each; left out: drawn scenes.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Triplets to learn from.")] = 600,
    minutes: Minutes = float("inf"),
    device: Device = "auto",
) -> None:
    """Train a demo model's readout head, which guides point drags."""
    from ..core.demo.train_readout import train

    path = train(
        folder, model=model, weights=weights, frames=frames, steps=steps, minutes=minutes, device=choose_device(device), report=out.print
    )
    out.print(f"head in {path}")


def _needs(folder: Path, command: str, option: str = "--vae") -> None:
    if not folder.is_dir():
        raise ValueError(f"{option} {folder} is no folder; train one first: dragfield train {command}")

"""`dragfield bench`: measure. The demo suite knows the truth of every case, the speed suite times a drag iteration, data sets are edited
and judged whole (bench_sets.py)."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer

from .bench_sets import SETS, Rows, evaluate, judged_by
from .console import choose_device, err, out, progress_bar
from .tables import table

SCENES = {
    "demo": ("demo", "METHODS"), "demo-points": ("points", "ROWS"), "combinations": ("combinations", "ROWS"), "frames": ("frames", ""),
    "self-drags": ("agreement", "SETTINGS"), "tuning": ("detuned", "DETUNED"),
    "few-steps": ("few_steps", "ROWS"),
}  # fmt: skip
"""Suites of drawn cases: their module, and where it lists its rows; "": it chooses itself."""
SUITES = Literal[
    "demo", "demo-points", "combinations", "frames", "demo-adapter", "real", "self-drags", "tuning", "few-steps", "speed", "point-speed",
    "redbench", "dragbench", "dragbench-dr", "drag100", "real-motion", "folder",
]  # fmt: skip
SPEED = ("model", "size", "recipe", "seconds", "time_ratio", "memory_ratio", "flops_ratio", "flops_over_minimum")


def bench(
    suite: Annotated[SUITES, typer.Option(help="What to measure.")] = "demo",
    cases: Annotated[int, typer.Option(min=1, help="demo suites: how many fresh cases are drawn.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="demo suites: which cases are drawn; data sets: of what edits draw.")] = 0,
    methods: Annotated[
        str, typer.Option(help="demo suites, real, data sets: only these, separated by commas; data sets: names of variants too.")
    ] = "",
    world: Annotated[Literal["scenes", "figures"], typer.Option(help="demo: scenes like those trained on, or figures.")] = "scenes",
    data: Annotated[
        Path | None, typer.Option(help="real, frames: folder of pairs of frames of known outcome; data sets: folder of their samples.")
    ] = None,
    pictures: Annotated[Path | None, typer.Option(help="real: folder of pictures for the null test; else the pairs' own.")] = None,
    autoencoder: Annotated[
        Path | None, typer.Option(help="real: folder of a small autoencoder in TAESD's layout, for rows of latents.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="real: whole edits too, by a folder in diffusers layout, or 'demo', as in data sets; few-steps: a student."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="real: a PNG of the worst pairs goes here.")] = None,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="data sets: folder of the results; the same command goes on with what is there. speed: of its plot."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="data sets: only so many samples.")] = None,
    metrics: Annotated[str, typer.Option(help="data sets: only these, separated by commas; else all whose networks are named.")] = "",
    lpips: Annotated[Path | None, typer.Option(help="data sets: AlexNet's weights as torchvision saves them, for if, if_bg, ...")] = None,
    lpips_heads: Annotated[Path | None, typer.Option(help="data sets: LPIPS's heads; else those that torchmetrics brings.")] = None,
    clip: Annotated[Path | None, typer.Option(help="data sets: folder of a CLIP vision model, for clip.")] = None,
    dift: Annotated[
        str | None, typer.Option(help="data sets: folder of Stable Diffusion 2.1, for md, md1, md2; 'demo' for the bundled UNet.")
    ] = None,
    dreamsim: Annotated[Path | None, typer.Option(help="data sets: folder that the library dreamsim fills, for dreamsim.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="data sets: a vision-language model for gscore, gscore_drag: its folder, or its name on a server. Pictures are sent there."
        ),
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(
            help="--judge: address of an OpenAI-compatible server; else DRAGFIELD_API_URL, else Ollama on this machine. Its key, if any, "
            "is in DRAGFIELD_API_KEY."
        ),
    ] = None,
    votes: Annotated[int, typer.Option(min=1, max=100, help="--judge: how often each edit is judged.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="--judge: 0 repeats itself best; GoodDrag's has 0.4.")] = 0.0,
    variants: Annotated[
        Path | None,
        typer.Option(help='data sets: JSON of methods by settings, {"NAME": {"method": "dragflow", "settings": {"drag.rate": 0.1}}}.'),
    ] = None,
    ablation: Annotated[
        Literal["dragflow", "directdrag"] | None,
        typer.Option(help="data sets: the rows of that paper's ablation, as far as they can be made here."),
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(help="data sets: write an ablation table against this row; the first that is no floor, with variants or --ablation."),
    ] = None,
    readout: Annotated[
        Path | None, typer.Option(help="data sets: directdrag's readout head for --model; the bundled model has one.")
    ] = None,
    longest: Annotated[int | None, typer.Option(help="data sets: work at this longest side, px; else as `dragfield edit`.")] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="data sets: auto is bfloat16 on a GPU, float32 else.")
    ] = "auto",
    engine: Annotated[Literal["local", "ray"], typer.Option(help="data sets: in this process, or spread over a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="--engine ray: models at once.")] = 1,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="--engine ray: GPUs of each, also a part of one; else 1 with --device cuda, 0 without.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="--engine ray: address of the cluster, or 'auto'; else this machine alone.")] = None,
    compare: Annotated[Path | None, typer.Option(help="data sets: --out folder of another run, set beside this one in the page.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="data sets: do again what has failed before.")] = False,
    device: Annotated[
        str, typer.Option(help="speed, point-speed, data sets: cpu, cuda or cuda:N; auto takes a GPU if there is one.")
    ] = "auto",
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the whole report here.")] = None,
) -> None:
    """Measure the methods side by side on drawn cases or data sets, or the cost of a drag iteration."""
    if suite in SETS:
        networks = {"lpips": lpips, "lpips_heads": lpips_heads, "clip": clip, "dift": dift, "dreamsim": dreamsim}
        networks["judge"] = judged_by(judge, judge_url, votes, temperature, choose_device(device))
        spread = None if engine == "local" else (workers, gpus, cluster)
        rows = Rows(methods, variants, ablation, ablate)
        evaluate(
            suite, data, out_folder, rows, metrics, networks, model, readout, seed, limit, longest, device, dtype, retry, compare, spread
        )
        return
    of_sets = {"--variants": variants, "--ablation": ablation, "--ablate": ablate, "--readout": readout, "--judge": judge}
    if given := [name for name, value in of_sets.items() if value is not None]:
        raise ValueError(f"{', '.join(given)} is of data sets ({', '.join(SETS)}); leave it out with --suite {suite}")
    if json_path is not None and json_path.is_dir():
        raise ValueError(f"{json_path} is a folder; --json takes the file to write")
    chosen = [name.strip() for name in methods.split(",") if name.strip()]
    with progress_bar() as progress:
        if suite in SCENES:
            module, rows = SCENES[suite]
            drawn = import_module(f"..benchmarks.{module}", __package__)
            own = {"demo": {"world": world}, "frames": {"data": data}, "few-steps": {"model": None if model is None else Path(model)}}
            more = own.get(suite, {})
            report = drawn.run(cases, seed, chosen or (list(getattr(drawn, rows)) if rows else ()), **more, progress=progress)
        elif suite == "demo-adapter":
            from ..benchmarks import demo_adapter

            report = demo_adapter.run(cases, seed, progress=progress)
        elif suite == "real":
            from ..benchmarks import real

            if data is None:
                raise ValueError("suite real needs real frames: give their folder by --data (a folder for each pair)")
            chosen = chosen or list(real.METHODS)
            report = real.run(data, chosen, autoencoder=autoencoder, model=model, null=pictures, progress=progress)
        elif suite == "point-speed":
            from ..benchmarks import point_speed

            report = point_speed.run(device=choose_device(device), progress=progress)
        else:
            from ..benchmarks import growth, speed

            where = choose_device(device)
            report = speed.run(device=where, progress=progress)
            report["growth"] = growth.run(device=where, progress=progress)
            if out_folder is not None:
                growth.write(report["growth"], out_folder)
                err.print(f"tables and a plot of how the cost grows in {out_folder}", markup=False)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        err.print(f"report in {json_path}", markup=False)
    if suite in SCENES:
        for name, why in report.get("skipped", {}).items():
            err.print(f"{name} left out: {why}", markup=False)
        rows = ({"method": name, **figures} for name, figures in report["methods"].items())
        out.print(table(f"{report['cases']} cases, seed {report['seed']}", rows))
        if "rank_correlation" in report:
            out.print(f"rank correlation between the two: {report['rank_correlation']:.2f}", markup=False)
        for name, words in report.get("found", {}).items():
            out.print(f"{name}: {words}", markup=False)
        if report.get("ablation"):
            out.print(table("what each part changes, case by case", ({"row": name, **step} for name, step in report["ablation"].items())))
    elif suite == "real":
        rows = ({"row": name, **{k: v for k, v in figures.items() if k != "by_pair"}} for name, figures in report["methods"].items())
        out.print(table(f"{report['pairs']} pairs of real frames; means, texture: median, of the ring's", rows))
        rows = ({"row": name, **{k: v for k, v in figures.items() if k != "by_pair"}} for name, figures in report["points"].items())
        out.print(table("told one or three places of the object: how far off are the others, and what moves that should not", rows))
        chosen_of = report["selection"]
        if chosen_of["regions"]:
            agreement = f"IoU {chosen_of['iou']:.2f} with {chosen_of['regions']} regions drawn by hand"
            out.print(f"selected from one place: {agreement}", markup=False)
        null = report["null"]
        out.print(f"null: a shadow is claimed for {null['shadows']:.0%} of {null['discs']} discs at random places", markup=False)
        if sheet is not None:
            from PIL import Image

            Image.fromarray(real.sheet(data, real.worst(report, chosen[-1]))).save(sheet)
            err.print(f"the worst pairs in {sheet}: before, pixel_warp, start, after", markup=False)
    elif suite == "demo-adapter":
        rows = ({"drift": name, **figures} for name, figures in report["drift"].items())
        added = f"{report['drag_iteration']['added']:.1%} more time a drag iteration"
        out.print(table(f"{report['cases']} scenes, seed {report['seed']}; {added}", rows))
        edits = ({"drags, the prompt of another scene": name, **figures} for name, figures in report["edits"].items())
        out.print(table("", edits))
    else:
        out.print(table(f"{report['time_ratio']:.2f} x as fast on {report['device']}", report["cases"], SPEED))
        if suite == "speed":
            out.print(table("how the cost of an iteration grows; x: of the base's, in the same turns", growth.rows(report["growth"])))

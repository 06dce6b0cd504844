"""How long a step of the published DragFlow is, in units of the latent: where the default rate of a region drag comes from.

    python scripts/published_step.py GOLDEN

GOLDEN: a folder of drags with `golden.json` (working size) and `golden.safetensors` (`z_inverted`, `z_after_01`, `z_after_50`,
`z_after_51`, `latent_mask`) beside a ReD Bench sample. Printed: root mean square of the change over that of the latent, both over the
latent cells where the region is, inside the mask.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from dragfield.core.formats import red_bench
from dragfield.core.optimise.published_regions import PublishedRegions
from dragfield.core.optimise.region_drag import present_cells
from dragfield.core.optimise.supervision import cut_shape


def main(folder: Path) -> None:
    found = []
    for case in sorted(path for path in folder.iterdir() if (path / "golden.json").exists()):
        size, z = tuple(json.loads((case / "golden.json").read_text())["size"]), load_file(case / "golden.safetensors")
        regions = PublishedRegions(red_bench.read(case).drag(), cut_shape(size))

        def length(before: str, after: str, progress: float, z=z, regions=regions) -> float:
            cells = (present_cells(regions, progress, z["z0"]) & z["latent_mask"].bool()).expand_as(z["z0"])
            change, latent = (z[after] - z[before])[cells], z["z_inverted"][cells]
            return float(change.square().mean().sqrt() / latent.square().mean().sqrt())

        found.append((length("z_inverted", "z_after_01", 1 / 50), length("z_after_50", "z_after_51", 1.0)))
        print(f"{case.name:12} first step {found[-1][0]:.4f}   first of intensify {found[-1][1]:.4f}")
    first, intensify = torch.tensor(found).mean(dim=0).tolist()
    print(f"{'mean':12} first step {first:.4f}   first of intensify {intensify:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

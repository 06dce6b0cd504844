"""DreamSim (Fu et al. 2023): a distance of pictures tuned to people's judgements of layout, pose and content, between LPIPS and CLIP.

The library `dreamsim` asks torchvision, timm and open_clip of whoever imports it, so that of its models only the one that needs none of
them is taken: the single DINO ViT-B/16 (`dreamsim_type="dino_vitb16"`), whose distances are not those of the ensemble that papers mostly
report. Its files are read from the folder that the library fills. A transformer of twelve of torch's own layers gives the class token after
the last block, before the final norm; a distance is one less the cosine of two such tokens, each freed of its mean.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..adapters.vision import IMAGENET, prepared
from ..picture.compose import tensor_of
from .judged import Judged
from .perceptual import read_state

SIDE, PATCH, HEAD_WIDTH = 224, 16, 64
LORA = "dino_vitb16_single_lora"
BASE = ("checkpoints/dino_vitbase16_pretrain.pth", "dino_vitbase16_pretrain.pth")
"""Where the library's downloads lie in its folder, or somebody put DINO's weights by hand."""
NAMES = {
    "attn.qkv.weight": "self_attn.in_proj_weight", "attn.qkv.bias": "self_attn.in_proj_bias",
    "attn.proj.weight": "self_attn.out_proj.weight", "attn.proj.bias": "self_attn.out_proj.bias",
    "mlp.fc1.weight": "linear1.weight", "mlp.fc1.bias": "linear1.bias", "mlp.fc2.weight": "linear2.weight", "mlp.fc2.bias": "linear2.bias",
    "norm1.weight": "norm1.weight", "norm1.bias": "norm1.bias", "norm2.weight": "norm2.weight", "norm2.bias": "norm2.bias",
}  # fmt: skip
"""A block's weights in DINO's file, and in torch's layer."""


class DreamSim(nn.Module):
    """The distance of two pictures [1, 3, H, W] in [0, 1]. -> a float, 0 for equal pictures, at most 2.

    state: DINO's state dict with the adapter merged in; width and depth are its own, heads are 64 wide.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        width = state["cls_token"].shape[-1]
        depth = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))
        for name in ("cls_token", "pos_embed"):
            self.register_buffer(name, state[name])
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.patches.load_state_dict({name: state[f"patch_embed.proj.{name}"] for name in ("weight", "bias")})
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // HEAD_WIDTH, 4 * width, dropout=0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True,
                norm_first=True,
            )  # fmt: skip
            for _ in range(depth)
        )
        for index, block in enumerate(self.blocks):
            block.load_state_dict({ours: state[f"blocks.{index}.{theirs}"] for theirs, ours in NAMES.items()})
        if self.pos_embed.shape[1] != (SIDE // PATCH) ** 2 + 1:
            raise ValueError(f"positions for {self.pos_embed.shape[1]} tokens")
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path) -> DreamSim:
        """Of the folder that `dreamsim(dreamsim_type="dino_vitb16", cache_dir=folder)` fills. Raises: ValueError for another one."""
        base = next((folder / name for name in BASE if (folder / name).is_file()), None)
        if base is None:
            raise ValueError(f"{folder} holds no {BASE[0]}: give the folder that the library dreamsim filled for dino_vitb16")
        adapter = next((folder / LORA / f"adapter_model{end}" for end in (".safetensors", ".bin")
                        if (folder / LORA / f"adapter_model{end}").is_file()), None)  # fmt: skip
        if adapter is None:
            raise ValueError(f"{folder} holds no {LORA}/adapter_model: give the folder that the library dreamsim filled for dino_vitb16")
        state, lora = read_state(base), read_state(adapter)
        try:
            told = json.loads((folder / LORA / "adapter_config.json").read_bytes())
            return cls(merged(state, lora, told["lora_alpha"] / told["r"]))
        except (OSError, LookupError, TypeError, ArithmeticError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{base.name} and {LORA} in {folder} do not make DreamSim's DINO ViT-B/16 ({reason})") from None

    @torch.no_grad()
    def forward(self, a: Tensor, b: Tensor) -> float:
        one, other = (self.embedding(picture) for picture in (a, b))
        # Two equal pictures are at a distance of rounding, on either side of 0.
        return max(0.0, 1 - float(F.cosine_similarity(one, other).mean()))

    def embedding(self, picture: Tensor) -> Tensor:
        """[1, 3, 224, 224] in [0, 1] -> [1, width], its mean taken off."""
        x = self.patches(prepared(picture.to(self.cls_token), SIDE, IMAGENET)).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token, x), 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        token = x[:, 0]
        return token - token.mean(1, keepdim=True)


def dreamsim(edit: Judged, network: DreamSim) -> float:
    """DreamSim's distance of source and result. Lower is closer to the source: the unchanged picture has 0, as with every likeness."""
    return network(*(squared(picture) for picture in (edit.before, edit.after)))


def squared(picture: np.ndarray) -> Tensor:
    """The library's own preparation: stretched to 224 x 224 px, bicubic on 8 bits."""
    image = Image.fromarray(np.rint(picture.clip(0, 1) * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return tensor_of(np.asarray(image, np.float32) / 255)


def merged(state: dict[str, Tensor], lora: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """DINO's weights with a LoRA in peft's names added: W + scale · B A.  Raises: ValueError for one that fits none or not all of them."""
    if not (math.isfinite(scale) and lora):
        raise ValueError("an adapter without weights")
    made = dict(state)
    for name, down in lora.items():
        if not name.endswith("lora_A.weight"):
            continue
        # base_model.model.extractor_list.0.model.blocks.3.attn.qkv.lora_A.weight
        target = name.partition("extractor_list.0.model.")[2].removesuffix("lora_A.weight") + "weight"
        if target not in made:
            raise ValueError(f"an adapter for {name}")
        made[target] = made[target] + scale * lora[name.replace("lora_A", "lora_B")] @ down
    if all(made[name] is state[name] for name in state):
        raise ValueError("an adapter that changes nothing")
    return made

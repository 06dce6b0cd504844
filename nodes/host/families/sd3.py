"""SD 3 and 3.5 (`mmdit.py`): double blocks with learned positions; the medium one's attend to the picture alone a second time.

Blocks could be replaced, but are then computed twice in ComfyUI's own checkpoint, outside of what makes gradients right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.ldm.modules.diffusionmodules.mmdit
from torch import Tensor, nn

from ....core.model.taps import Tap
from .contract import Family, Shape


class _SD3(Family):
    name, replaces, patched = "SD 3.5", False, False

    def holds(self, network: nn.Module | None) -> bool:
        return isinstance(network, comfy.ldm.modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper)

    def shape(self, network: Any) -> Shape:
        return Shape(network.patch_size, network.hidden_size)

    def double(self, network: Any) -> Sequence[nn.Module]:
        return network.joint_blocks

    def layer(self, network: Any, tap: Tap) -> nn.Module:
        block = network.joint_blocks[tap.index].x_block
        return block.attn.qkv if tap.point == "attn_in" else block.mlp

    def first_of_picture(self, network: Any, options: dict[str, Any], length: int, tokens: int) -> int:
        return length - tokens

    def picture(self, output: Any) -> Tensor:
        return output[1]

    def of_text_alone(self, network: Any, index: int) -> tuple[nn.Module, ...]:
        block = network.joint_blocks[index].context_block
        # The last block has no more of its text than keys and values.
        return (block.attn.proj, block.mlp) if hasattr(block, "mlp") else ()


SD3 = _SD3()

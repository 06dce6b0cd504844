"""The list of Dragfield's nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .canvas import DragCanvas
from .demo import LoadDemoModel, LoadDemoScene
from .drag_edit import DragEdit
from .drag_from_masks import DragFromMasks
from .drag_from_points import DragFromPoints
from .drag_intent import DragIntent
from .fireflow_sampler import FireFlowSampler
from .gradient_mask import GradientMask
from .invert import FireFlowInvert
from .latent_warp import LatentWarp
from .masked_denoise import GradientMaskedDenoise
from .paste_back import PasteBack
from .preview import DragPreview
from .red_bench import LoadReDBench
from .region_optimizer import RegionDragOptimizer
from .report import DragReport
from .subject import AdapterInject, EncodeSubject, LoadSubjectAdapter

NODES: list[type[io.ComfyNode]] = [
    DragCanvas,
    DragFromMasks,
    DragFromPoints,
    DragIntent,
    DragPreview,
    GradientMask,
    FireFlowInvert,
    LatentWarp,
    RegionDragOptimizer,
    GradientMaskedDenoise,
    PasteBack,
    DragEdit,
    DragReport,
    FireFlowSampler,
    LoadSubjectAdapter,
    EncodeSubject,
    AdapterInject,
    LoadDemoModel,
    LoadDemoScene,
    LoadReDBench,
]


class Dragfield(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES

"""The list of Dragfield's nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .canvas import DragCanvas
from .ddim_invert import DDIMInvert
from .demo import LoadDemoModel, LoadDemoScene, LoadDemoUNet
from .drag_edit import DragEdit
from .drag_from_boxes import DragFromBoxes
from .drag_from_masks import DragFromMasks
from .drag_from_points import DragFromPoints
from .drag_intent import DragIntent
from .drag_to_boxes import DragToBoxes
from .drag_to_field import DragToField
from .fireflow_sampler import FireFlowSampler
from .gradient_mask import GradientMask
from .host.drawn_scene import add_scene_route
from .host.loaded_picture import add_route
from .invert import FireFlowInvert
from .latent_warp import LatentWarp
from .masked_denoise import GradientMaskedDenoise
from .metrics import DragMetrics
from .model_check import ModelCheck
from .mutual_attention import MutualSelfAttention
from .paste_back import PasteBack
from .point_drag import PointDragOptimizer
from .preview import DragPreview
from .readout import LoadReadoutHead, ReadoutGuidance
from .red_bench import LoadReDBench
from .region_optimizer import RegionDragOptimizer
from .report import DragReport
from .soft_mask import AutoSoftMask
from .subject import AdapterInject, EncodeSubject, LoadSubjectAdapter
from .subject_lora import SubjectLora
from .train_readout import TrainReadoutHead
from .warm_start import WarmStart

NODES: list[type[io.ComfyNode]] = [
    DragCanvas,
    DragFromMasks,
    DragFromPoints,
    DragFromBoxes,
    DragIntent,
    DragToField,
    DragToBoxes,
    DragPreview,
    GradientMask,
    FireFlowInvert,
    LatentWarp,
    WarmStart,
    RegionDragOptimizer,
    GradientMaskedDenoise,
    PasteBack,
    DragEdit,
    DragReport,
    DragMetrics,
    ModelCheck,
    FireFlowSampler,
    LoadSubjectAdapter,
    EncodeSubject,
    AdapterInject,
    DDIMInvert,
    AutoSoftMask,
    PointDragOptimizer,
    MutualSelfAttention,
    LoadReadoutHead,
    ReadoutGuidance,
    TrainReadoutHead,
    SubjectLora,
    LoadDemoModel,
    LoadDemoUNet,
    LoadDemoScene,
    LoadReDBench,
]


class Dragfield(ComfyExtension):
    async def on_load(self) -> None:
        add_route()
        add_scene_route()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES

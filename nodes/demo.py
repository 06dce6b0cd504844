"""Load Demo Model, Load Demo UNet, Load Demo Scene: everything an example needs, on a CPU, right after installing."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..core.demo.case_points import point_drag_of
from ..core.instruction import DragInstruction
from ..core.instruction.operations import Task
from . import wire
from .host.demo_model import load_demo_model
from .host.demo_unet import load_demo_unet
from .host.drawn_scene import WORLDS, drawn_case
from .types import CATEGORY


class LoadDemoModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description="A small model of FLUX's architecture that comes with the pack and runs on a CPU. It knows drawn scenes of 256 x "
            "256 px.",
            search_aliases=["demo-flux", "tiny flux", "test model", "cpu model"],
            inputs=[],
            outputs=[io.Model.Output("model"), io.Clip.Output("clip"), io.Vae.Output("vae")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_model())


class LoadDemoUNet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadDemoUNet",
            display_name="Load Demo UNet",
            category=CATEGORY,
            description="A small model of Stable Diffusion's architecture that comes with the pack and runs on a CPU. It knows drawn "
            "scenes of 256 x 256 px.",
            search_aliases=["demo-unet", "tiny stable diffusion", "tiny SD", "DirectDrag", "test model", "cpu model"],
            inputs=[],
            outputs=[io.Model.Output("model"), io.Clip.Output("clip"), io.Vae.Output("vae")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(*load_demo_unet())


class LoadDemoScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLoadDemoScene",
            display_name="Load Demo Scene",
            category=CATEGORY,
            description="A drawn scene with a drag whose true outcome is known, for trying things out and for measuring.",
            search_aliases=["example drag", "test image", "demo picture"],
            inputs=[
                io.Int.Input("seed", default=1, min=0, max=2**31 - 1, control_after_generate=True, tooltip="Which scene."),
                io.Combo.Input("task", options=["relocation", "rotation", "deformation"], tooltip="What the drag does."),
                io.Int.Input("size", default=256, min=64, max=512, step=16, tooltip="Side in pixels. The demo model knows 256."),
                io.Combo.Input(
                    "world",
                    options=list(WORLDS),
                    default="scenes",
                    optional=True,
                    tooltip="Objects on a ground, as the demo models know them, or figures with limbs, which they have never seen.",
                ),
            ],
            outputs=[
                io.Image.Output("image"),
                io.String.Output("drag"),
                io.String.Output("prompt", tooltip="What the scene shows, in the words that the demo model knows."),
                io.Image.Output("truth", tooltip="The scene as it should be after the drag."),
                io.Mask.Output("region", tooltip="What is dragged."),
                io.String.Output("points", tooltip="The same drag by points alone."),
            ],
        )

    @classmethod
    def execute(cls, seed: int, task: Task, size: int, world: str = "scenes") -> io.NodeOutput:
        case = drawn_case(seed, task, size, world)
        image = wire.image_of(case.source)
        drag = DragInstruction.from_drag(case.drag).to_json()
        points = DragInstruction.from_drag(point_drag_of(case)).to_json()
        known = (case.scene.caption, wire.image_of(case.truth), wire.mask_of(case.region), points)
        return io.NodeOutput(image, drag, *known, ui=ui.PreviewImage(image, cls=cls))

"""FireFlow Sampler: the solver alone, as a SAMPLER for SamplerCustomAdvanced."""

from __future__ import annotations

from comfy_api.latest import io

from .host.fireflow_sampler import make_sampler
from .types import CATEGORY


class FireFlowSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldFireFlowSampler",
            display_name="FireFlow Sampler",
            category=CATEGORY,
            description="A sampler of second order at the cost of one model call a step, for flow models.",
            search_aliases=["FireFlow", "midpoint sampler", "RF-Solver", "second order flow"],
            inputs=[],
            outputs=[io.Sampler.Output("sampler")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(make_sampler())

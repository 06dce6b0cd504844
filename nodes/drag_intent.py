"""Drag Intent: what is meant by a drag, read by a language model or guessed from geometry (DragFlow D.3)."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.instruction import DragInstruction
from ..core.intent import chat, geometry, local
from ..core.intent.answer import Intent, moving
from ..core.intent.chat import OLLAMA
from ..core.intent.request import Request, make_request
from . import intent_store, wire
from .host.models_folder import folder_in_models
from .host.progress import ComfyProgress
from .host.room import device_with_room_for
from .host.user_settings import setting
from .types import CATEGORY, drag_input

GEOMETRY, SERVER, FOLDER = "geometry", "server", "local model"
MODELS = "LLM"
"""The folder inside ComfyUI's models directory in which vision-language models are looked for."""


class DragIntent(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldIntent",
            display_name="Drag Intent",
            category=CATEGORY,
            description="Reads the intent of a drag: which task every region has, and prompts for the picture before and after. Asks a "
            "language model that sees pictures, on a server or from a folder, or guesses from geometry. Nothing is sent anywhere "
            "unless 'server' is chosen.",
            search_aliases=["MLLM", "VLM", "auto prompt", "drag prompt", "Qwen-VL", "Ollama", "OpenAI", "describe drag"],
            inputs=[
                io.Image.Input("image"),
                drag_input(),
                io.Combo.Input(
                    "backend",
                    options=[GEOMETRY, SERVER, FOLDER],
                    tooltip="'geometry': no model, tasks only. 'server': any OpenAI-compatible one, whose address and key are in ComfyUI's "
                    f"settings (Dragfield) or in DRAGFIELD_API_URL and DRAGFIELD_API_KEY; without them, Ollama at {OLLAMA}. 'local "
                    f"model': a transformers folder inside models/{MODELS}.",
                ),
                io.String.Input("model", default="", tooltip="The model's name on the server, or its folder inside models/LLM."),
                io.Int.Input(
                    "choice",
                    default=0,
                    min=0,
                    max=10,
                    tooltip="Which candidate is meant. 0: show them on the node and stop here, if there is more than one. After a change "
                    "of the drag, a choice above 1 is asked for anew.",
                ),
                io.Boolean.Input("ask_again", default=False, advanced=True, tooltip="Ask even though this drag was asked about before."),
                io.Float.Input("timeout", default=120.0, min=1.0, max=3600.0, advanced=True, tooltip="Seconds to wait for the server."),
            ],
            outputs=[
                io.String.Output("drag_json", display_name="drag", tooltip="The drag with tasks and prompts filled in."),
                io.String.Output("prompt", tooltip="What the picture shows."),
                io.String.Output("edit_prompt", tooltip="What changes."),
                io.String.Output("candidates", tooltip="All candidates, a line each."),
                io.Image.Output("shown", tooltip="What the model is shown beside the picture: sources blue, landing places green."),
            ],
        )

    @classmethod
    def validate_inputs(cls, drag: str | None = None, backend: str | None = None, model: str | None = None) -> bool | str:
        if backend in (SERVER, FOLDER) and model is not None and not model.strip():
            wanted = "its name on the server" if backend == SERVER else f"its folder inside models/{MODELS}"
            return f"no model is named: write {wanted}, or choose geometry"
        return wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, image: torch.Tensor, drag: str, backend: str, model: str, choice: int, ask_again: bool, timeout: float
    ) -> io.NodeOutput:
        instruction = DragInstruction.from_json(drag)
        picture = np.rint(wire.array_of(image[0]).clip(0, 1) * 255).astype(np.uint8)
        request, new = make_request(picture, instruction), False
        if backend == GEOMETRY:
            intent = geometry.guess(picture, instruction)
        else:
            key = intent_store.key_of(request, backend, model.strip())
            intent = None if ask_again else intent_store.load(key, instruction)
            new = intent is None
            if new:
                intent = _asked(request, instruction, backend, model.strip(), timeout)
                intent_store.save(key, intent)
        text = "\n".join(_lines(intent, instruction))
        marked = wire.image_of(request.marked.astype(np.float32) / 255)
        shown = ui.PreviewText(text)
        if choice == 0 and len(intent.candidates) > 1:
            question = f"choose what the drag means: set choice to 1-{len(intent.candidates)}\n{text}"
            return io.NodeOutput(drag, "", "", text, marked, ui=shown, block_execution=question)
        filled = intent.fill(instruction, max(choice, 1) - 1)
        if new and choice > 1:
            # An error, because ComfyUI would remember a stop and not come back to it for the same choice.
            raise ValueError(
                f"nobody has seen these candidates yet, so {choice} was chosen for another drag: set choice, or queue again to take it"
                f"{', without ask_again' if ask_again else ''}\n{text}"
            )
        return io.NodeOutput(filled.to_json(), filled.background_prompt, filled.editing_prompt, text, marked, ui=shown)


def _asked(request: Request, instruction: DragInstruction, backend: str, model: str, timeout: float) -> Intent:
    if backend == SERVER:
        url = setting("Dragfield.Intent.Url", "DRAGFIELD_API_URL", OLLAMA)
        endpoint = chat.Endpoint(url, model, setting("Dragfield.Intent.Key", "DRAGFIELD_API_KEY"), timeout=timeout)
        return chat.ask(endpoint, request, instruction, ComfyProgress.stop_if_cancelled)
    folder = folder_in_models(MODELS, model)
    device = device_with_room_for(folder)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    return local.ask(folder, request, instruction, device=str(device), dtype=dtype, should_stop=ComfyProgress.stop_if_cancelled)


def _lines(intent: Intent, instruction: DragInstruction) -> list[str]:
    lines = [f"the picture: {intent.background_prompt}"] if intent.background_prompt else []
    names = [region.name or f"region {i}" for i, region in enumerate(moving(instruction), 1)]
    for number, candidate in enumerate(intent.candidates, 1):
        tasks = ", ".join(f"{name}: {task}" if len(names) > 1 else task for name, task in zip(names, candidate.tasks, strict=True))
        lines.append(f"{number}. {candidate.editing_prompt or '(no prompt)'} [{tasks}]")
    return lines

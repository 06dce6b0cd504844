"""A backbone's share of the device: which plan its calls run by, what they reserve, and what the user can lower."""

from __future__ import annotations

from typing import Any, Literal

import comfy.model_management
import torch

from ...core.model.attention import KVBank
from .bank_on_host import device_bytes, move_to_host, sent_ahead
from .memory import PLANS, SHARE, Plan, Saving, Walk, activation_bytes, choose, room_beside

GIB = 1024**3


class Budget:
    """patcher: the MODEL.  saving: "auto" gives up what it has to, "off" nothing, "on" all but what costs most; or a plan to keep to."""

    def __init__(self, patcher: Any, saving: Saving | Plan) -> None:
        self.saving = saving
        self.plan: Plan = saving if isinstance(saving, Plan) else PLANS[2] if saving == "on" else PLANS[0]
        self._patcher, self._walk = patcher, None
        self._settled, self._caution = isinstance(saving, Plan), 1
        self._banks: list[KVBank] = []

    def place(self, bank_bytes: int) -> Literal["device", "cpu"]:
        """Where a bank of that size shall be made: on the device when a quarter of the room beside the model holds it, or saving is "off".

        It stays there as long as its trajectory, and ComfyUI doesn't know of it.
        """
        if self.saving == "off":
            return "device"
        return "cpu" if self.plan.bank_on_host or bank_bytes > room_beside(self._patcher) // 4 else "device"

    @staticmethod
    def kept_as(count: int, dtype: torch.dtype) -> torch.dtype:
        """What so many numbers of a bank are kept in, in host memory: `dtype`, or a byte each where that is more than there is.

        Raises ValueError where that is too much too.
        """
        free = comfy.model_management.get_free_memory(torch.device("cpu"))
        for kept in (dtype, torch.float8_e4m3fn):
            if count * kept.itemsize <= SHARE * free:
                return kept
        raise ValueError(
            f"the picture's keys and values take {count / GIB:.1f} GB of RAM even at one byte a number, and {free / GIB:.1f} GB are free: "
            "remember fewer blocks ('none' edits without them), or lower steps, work_size or the picture's size"
        )

    def keep(self, bank: KVBank) -> KVBank:
        """The bank to read from in this backbone's calls; it is moved into host memory for good should room be short."""
        if all(bank is not other for other in self._banks):
            self._banks.append(bank)
        self._make_room()
        return sent_ahead(bank, self._patcher.load_device)

    def settle(self, walk: Walk, beside: int = 0) -> int:
        """Choose the plan for gradients through `walk`. -> bytes to reserve.

        beside: bytes of what else comes to the device for it, a ControlNet's weights and what it takes while it runs.
        """
        self._walk = walk
        if not self._settled:
            held = sum(device_bytes(bank) for bank in self._banks)
            self.plan = choose(walk, room_beside(self._patcher) - beside, held, self.saving)
        self._make_room()
        return self.need(walk)

    def need(self, walk: Walk) -> int:
        """Bytes that gradients through `walk` take by the present plan."""
        return self._caution * activation_bytes(walk, self.plan)

    def fitting(self, walks: dict[int, Walk]) -> list[str]:
        """For pictures of several sides, px: what an iteration holds beside the model by the plan that fits now, a phrase each."""
        room, phrases = room_beside(self._patcher), []
        for side, walk in walks.items():
            plan = choose(walk, room)
            how = "checkpointed, in host memory too" if plan.checkpoints_on_host else "checkpointed" if plan.checkpoint else "at full speed"
            fits = activation_bytes(walk, plan) <= SHARE * max(room, 0)
            takes = f"{activation_bytes(walk, plan) / GIB:.1f} GB"
            phrases.append(f"{side} px: {takes}, {how}{'' if fits else ', more than there is unless weights make way'}")
        return phrases

    def spare(self) -> None:
        """After running out: the leanest plan (unless saving is "off"), and twice the reserve, so that ComfyUI offloads more weights."""
        self._settled, self._caution = True, 2
        if self.saving != "off":
            self.plan = PLANS[-1]
        self._make_room()

    def advice(self) -> str:
        """What to lower, with numbers where they are known."""
        lower = "lower work_size or the picture's size, or load the model as an fp8 or GGUF file"
        if self.saving == "off":
            lower = f"set save_memory to 'auto', {lower}"
        if self._walk is None:
            return lower
        takes = activation_bytes(self._walk, self.plan) / GIB
        free = comfy.model_management.get_free_memory(self._patcher.load_device) / GIB
        return f"an iteration takes about {takes:.1f} GB here besides the model, and {free:.1f} GB are free without any: {lower}"

    def _make_room(self) -> None:
        if self.plan.bank_on_host:
            for bank in self._banks:
                move_to_host(bank)

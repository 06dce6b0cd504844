"""A MODEL that is prepared once for several calls through ComfyUI's own sampling code, and put back as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...core.model.backbone import Conditioning
from .conditioning import ComfyConditioning, Native, as_native, prepared


class PreparedModel:
    """What every backbone over a native MODEL does around its calls. The MODEL is cloned, never changed."""

    def __init__(self, patcher: Any) -> None:
        self._patcher = patcher.clone()
        self._native: WeakKeyDictionary[Conditioning, ComfyConditioning] = WeakKeyDictionary()
        self._prepared: dict[Any, tuple[Native, list[dict], dict[str, Any]]] = {}
        self._depth, self._running, self._reserved = 0, False, 0

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self._patcher.load_device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in; its weights may be stored in another."""
        return self._patcher.get_model_object("manual_cast_dtype") or self._patcher.model.get_dtype()

    @contextmanager
    def session(self) -> Iterator[PreparedModel]:
        """Keep the model prepared over several calls. Gradients may flow inside, in inference mode too, but not in `no_grad`."""
        self._depth += 1
        # Asked first: leaving inference mode lets gradients flow, whoever forbade them.
        flows = torch.is_grad_enabled() or torch.is_inference_mode_enabled()
        try:
            with torch.inference_mode(False), torch.set_grad_enabled(flows):
                try:
                    yield self
                except BaseException:
                    _let_go_of_failed_backward()
                    raise
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._close()

    def _load(self, z: Tensor, entries: Native, need: int) -> None:
        """Have the model on its device with room for this call; again when something took its place meanwhile.

        need: bytes that the call takes in all, where that is more than ComfyUI itself reserves for one. In inference mode, as ComfyUI
        loads: weights made in it and moved out of it are of no use any more, see `_restore_moved`.
        """
        model = self._patcher.model
        wanted = [self._patcher, *self._patcher.model_patches_models()]
        coming = not all(one in comfy.model_management.loaded_models() for one in wanted) or need > self._reserved
        if coming:
            extra, inference = self._additional(entries)
            with torch.inference_mode():
                comfy.model_management.load_models_gpu(
                    [self._patcher, *extra],
                    memory_required=max(model.memory_required([2 * z.shape[0], *z.shape[1:]]), need) + inference,
                    minimum_memory_required=max(model.memory_required(z.shape), need) + inference,
                )
            self._reserved = need
        if coming or not self._running:
            _restore_moved(model)
        if not self._running:
            self._patcher.pre_run()
            self._running = True

    def _additional(self, entries: Native) -> tuple[list[Any], int]:
        """Models that the entries bring along (ControlNets), and the bytes that those take while they run."""
        named = {"positive": [entry[1] for entry in entries]}
        return comfy.sampler_helpers.get_additional_models(named, self._patcher.model_dtype())

    def _prepare(self, entries: Native, z: Tensor) -> tuple[list[dict], dict[str, Any]]:
        """The entries and the model's options as sampling takes them; the options are the call's own."""
        key = (id(entries), tuple(z.shape), z.dtype)
        if key not in self._prepared:
            options = comfy.model_patcher.create_model_options_clone(self._patcher.model_options)
            conds = prepared(self._patcher.model, entries, z, "positive")
            comfy.sampler_helpers.prepare_model_patcher(self._patcher, {"positive": conds}, options)
            comfy.samplers.cast_to_load_options(options, device=self.device, dtype=self._patcher.model_dtype())
            # The entries are kept with what was made of them, so that their id stays theirs.
            self._prepared[key] = (entries, conds, options)
        _, conds, options = self._prepared[key]
        return conds, comfy.model_patcher.create_model_options_clone(options)

    def _prompt(self, cond: ComfyConditioning | Conditioning) -> ComfyConditioning:
        if isinstance(cond, ComfyConditioning):
            return cond
        return self._native.setdefault(cond, as_native(cond))

    def _close(self) -> None:
        for _, conds, _ in self._prepared.values():
            comfy.sampler_helpers.cleanup_models({"positive": conds}, [])
        self._prepared.clear()
        if self._running:
            self._running, self._reserved = False, 0
            self._patcher.cleanup()


def _let_go_of_failed_backward() -> None:
    """On a CPU, PyTorch holds what a failed backward pass had left to do, and its tensors, until the thread's next one: this is it."""
    with torch.enable_grad():
        x = torch.ones((), requires_grad=True)
        torch.autograd.grad(x * 1, x)


def _restore_moved(model: torch.nn.Module) -> None:
    """Make weights usable that were made in inference mode and moved by somebody out of it.

    To PyTorch such a parameter is no inference tensor, but has no version either, and every function refuses it ("Inference tensors do not
    track version counter"). As an inference tensor over the same memory it is what it was.
    """
    for parameter in model.parameters():
        if _lost_its_version(parameter):
            with torch.inference_mode():
                same = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
                parameter.data = same.set_(parameter.untyped_storage(), parameter.storage_offset(), parameter.shape, parameter.stride())


def _lost_its_version(x: Tensor) -> bool:
    if x.is_inference():
        return False
    try:
        return x._version < 0
    except RuntimeError:
        return True

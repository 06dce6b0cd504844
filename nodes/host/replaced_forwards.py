"""Another forward for single modules of somebody's model, for the time of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def replaced_forwards(modules: Iterable[nn.Module], replacement: Callable[[nn.Module], Callable | None]) -> Iterator[None]:
    """While inside, each module's forward is `replacement(module)`, where that is not None; then it is what it was."""
    undo: list[tuple[dict[str, Any], Callable | None]] = []
    try:
        for module in modules:
            forward = replacement(module)
            if forward is not None:
                # What setting the attribute comes down to, without a module's look whether it is a parameter: this is done at each call.
                own = vars(module)
                undo.append((own, own.get("forward")))
                own["forward"] = forward
        yield
    finally:
        for own, forward in reversed(undo):
            if forward is None:
                del own["forward"]
            else:
                own["forward"] = forward


def has_forward_of_its_class(module: nn.Module) -> bool:
    """Whether nobody, neither another pack nor this one, has put a forward of its own on this very module."""
    return getattr(module.forward, "__func__", None) is type(module).forward

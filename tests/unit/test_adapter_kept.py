"""Keys and values of subject adapters: kept over a trajectory as far as there is room, and where and how the model computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.adapters.kept import Kept
from dragfield.core.adapters.placing import beside, follow
from dragfield.core.adapters.tokens import LearnedRms

BLOCK = ("double", 0)
TIMES = [0.1, 0.3, 0.5, 0.7, 0.9]
GRID = (2, 3)


class Adapter(nn.Module):
    """Its keys are the time, in as many bytes as `numbers` float32 take, twice."""

    kind, needs, place, text_rows, heads, head_width, blocks = "test", (), "attention", False, 1, 4, frozenset([BLOCK])

    def __init__(self, depends_on_time: bool = True, numbers: int = 4) -> None:
        super().__init__()
        self.depends_on_time, self.numbers, self.made = depends_on_time, numbers, []
        self.weight = nn.Parameter(torch.ones(1), requires_grad=False)
        self.eval()

    def keys_values(self, subject: Subject, t: float) -> dict:
        self.made.append((t, subject.tensors["tokens"].device.type))
        x = torch.full((1, 1, self.numbers // 4, 4), t, device=subject.tensors["tokens"].device)
        return {BLOCK: (x, x + 1)}


def injections(adapter: Adapter, *more: Adapter, **settings) -> Injections:
    return Injections([Injection(a, Subject("test", {"tokens": torch.zeros(1)})) for a in (adapter, *more)], **settings)


def walk(together: Injections, times: list[float], like: Tensor | None = None) -> None:
    for t in times:
        call = together.begin(t, GRID, like=like)
        keys = call._parts[0].keys_values[BLOCK][0]
        assert keys.flatten()[0] == pytest.approx(t, abs=1e-6)


def test_a_trajectory_there_and_back_with_a_drag_between_pays_once_for_each_time() -> None:
    adapter = Adapter()
    walk(injections(adapter), [*TIMES, *[0.7] * 40, *reversed(TIMES), 0.5 + 1e-9])
    assert [t for t, _ in adapter.made] == TIMES


def test_with_room_for_some_times_those_walked_last_are_there_on_the_way_back() -> None:
    adapter = Adapter()
    walk(injections(adapter, room=3 * 32), [*TIMES, *reversed(TIMES)])
    assert [t for t, _ in adapter.made] == [*TIMES, 0.3, 0.1]


def test_without_room_what_one_call_needs_is_kept_all_the_same() -> None:
    one, other = Adapter(), Adapter()
    walk(injections(one, other, room=lambda: 0), [0.3] * 5 + [0.5])
    assert [t for t, _ in one.made] == [t for t, _ in other.made] == [0.3, 0.5]


def test_an_adapter_that_knows_no_time_pays_once() -> None:
    adapter = Adapter(depends_on_time=False)
    together = injections(adapter)
    for t in TIMES:
        together.begin(t, GRID)
    assert len(adapter.made) == 1


def test_keys_and_values_have_the_models_dtype_and_place_and_another_one_gets_its_own() -> None:
    adapter = Adapter()
    together = injections(adapter, moves=False)
    for like in (torch.zeros(1), torch.zeros(1, dtype=torch.float64), torch.zeros(1, device="meta"), torch.zeros(1)):
        call = together.begin(0.3, GRID, like=like)
        assert all((x.dtype, x.device) == (like.dtype, like.device) for x in call._parts[0].keys_values[BLOCK])
        again = together.begin(0.3, GRID, like=like)
        assert again._parts[0].keys_values[BLOCK][0] is call._parts[0].keys_values[BLOCK][0]
    assert [place for _, place in adapter.made] == ["cpu", "cpu", "meta"]


def test_an_adapter_follows_the_model_to_its_device_unless_something_else_places_it() -> None:
    stays, moves = Adapter(), Adapter()
    for adapter, settings in ((stays, {"moves": False}), (moves, {})):
        injections(adapter, **settings).begin(0.3, GRID, like=torch.zeros(1, device="meta"))
    assert (stays.weight.device.type, moves.weight.device.type) == ("cpu", "meta")
    follow(object(), torch.device("meta"))


def test_at_rest_nothing_is_left_on_an_accelerator_and_what_is_on_the_cpu_stays() -> None:
    adapter = Adapter()
    together = injections(adapter, moves=False)
    for _ in range(2):
        together.begin(0.3, GRID, like=torch.zeros(1))
        together.begin(0.3, GRID, like=torch.zeros(1, device="meta"))
        together.rest()
    assert [place for _, place in adapter.made] == ["cpu", "meta", "meta"]


def test_what_is_kept_is_counted_in_bytes() -> None:
    kept = Kept(64, least=1)
    for key in range(5):
        kept.get(key, lambda: {BLOCK: (torch.zeros(4), torch.zeros(4))})
    assert kept.bytes() == 64


def test_a_subject_goes_to_a_device_and_keeps_what_was_made_of_it_for_a_time() -> None:
    subject = Subject("test", {"tokens": torch.zeros(3)})
    there = subject.on("meta")
    assert there.tensors["tokens"].device.type == "meta" and subject.tensors["tokens"].device.type == "cpu"
    there.by_time["0.5"] = torch.ones(1)
    assert "0.5" in subject.by_time


def test_weights_loaded_in_inference_mode_let_a_gradient_through() -> None:
    with torch.inference_mode():
        norm = LearnedRms(4)
    x = torch.randn(2, 4, requires_grad=True)
    norm(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    plain = torch.ones(2)
    assert beside(plain, x) is plain

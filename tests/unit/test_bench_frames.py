"""Suite frames: what flickers is found, and what only moves is not."""

from __future__ import annotations

import numpy as np
import pytest

from dragfield.benchmarks import frames as suite
from dragfield.core.demo.cases import sample_cases
from dragfield.core.field import DragField
from dragfield.core.instruction.operations import Drag, RegionOperation

SIZE = (96, 64)


def field() -> DragField:
    mask = np.zeros((64, 96), bool)
    mask[24:40, 8:24] = True
    return DragField.from_drag(Drag(SIZE, (RegionOperation(mask, "relocation", (16.0 + 56, 32.0)),)))


def moving(flash: float = 0.0, at: slice = np.s_[:, :]) -> suite.Animation:
    """A square that moves 8 px a frame over even ground, of which a part changes from frame to frame."""
    pictures, masks = [], []
    for i in range(1, 8):
        picture, mask = np.full((64, 96, 3), 0.5, np.float32), np.zeros((64, 96), bool)
        picture[at] += flash * (i % 2)
        picture[24:40, 8 + 8 * i : 24 + 8 * i] = (0.9, 0.1, 0.1)
        mask[16:48, 0:96] = True
        pictures.append(picture)
        masks.append(mask)
    return suite.Animation(pictures, masks)


def test_what_only_moves_does_not_flicker():
    found = suite.flicker(moving(), field())
    assert all(found[name] == pytest.approx(0, abs=1e-4) for name in ("outside", "ground", "beside", "inside"))


PLACES = {"outside": np.s_[:8], "beside": np.s_[18:22, 30:60], "ground": np.s_[20:44, 86:]}


@pytest.mark.parametrize(("name", "at"), PLACES.items(), ids=PLACES)
def test_what_flickers_is_found_where_it_is(name, at):
    found = suite.flicker(moving(0.2, at), field())
    assert found[name] > 0.5
    assert all(found[other] == pytest.approx(0, abs=1e-4) for other in ("outside", "inside") if other != name)


def test_an_object_that_changes_its_colour_flickers_inside():
    shown = moving()
    for i, picture in enumerate(shown.pictures, 1):
        picture[24:40, 8 + 8 * i : 24 + 8 * i] += 0.05 * (i % 2)
    assert suite.flicker(shown, field())["inside"] == pytest.approx(0.05 * 255, rel=0.05)


def test_the_scene_on_its_way_ends_as_the_truth():
    for case in sample_cases(4, 3):
        assert np.abs(suite.render_at(case, 1.0) - case.truth).max() < 1e-3
        assert np.abs(suite.render_at(case, 0.0) - case.source).max() < 1e-3


def test_an_unknown_row_is_refused(monkeypatch):
    monkeypatch.setattr(suite, "_drawn_rows", lambda *_: {"truth": []})
    with pytest.raises(ValueError, match="row 'magic' is unknown: use truth"):
        suite.run(1, 0, ["magic"])

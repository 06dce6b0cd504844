"""A score by a multimodal language model, after GoodDrag's GScore: how natural the edit looks, and beside it how well the drag was done.

GoodDrag asks Gemini for 1 to 10, ten times at temperature 0.4, with three methods' results in one request; DirectDrag asks another Gemini
about one result alone. Such numbers hold for one model, one wording and one protocol: they can't be set beside another's, and a model's
taste is not an eye's. Quality has the trap of every likeness, that the unchanged picture is best; `gscore_drag` tells it from an edit, as
VIEScore's two scores do.

Pictures leave this machine when `Judge.verdict` is called, and go to the named server only (core/intent/chat.py); those that a model from
a folder judges do not leave it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ..instruction.guarded_json import show
from ..intent import local
from ..intent.answer import AnswerError, json_object, one_line
from ..intent.chat import Endpoint, complete, formats_of
from ..intent.marks import marked
from ..intent.question import Question, shrunk
from .judged import Judged

KEY = "DRAGFIELD_API_KEY"
"""The environment's variable that holds the server's key."""
HIGHEST = 10
ASPECTS = ("quality", "drag")
SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "string"}, "quality": {"type": "number"}, "drag": {"type": "number"}},
    "required": ["words", *ASPECTS],
    "additionalProperties": False,
}
FINE = 95
"""Quality of the JPEGs that are sent: what they lose is not to be taken for the edit's."""
SEEDS = 1 << 31


@dataclass(frozen=True)
class Vote:
    """One answer. quality, drag: 0 to 10.  words: the model's reasons, one line."""

    seed: int
    quality: float
    drag: float
    words: str


@dataclass(frozen=True)
class Judge:
    """A model on a server, or from a folder, and how it is asked.

    url, model: as an `Endpoint` has them; without a url, model is a folder that transformers can load, which runs on `device` and always
    says the same.  votes: how often each edit is judged, each by a seed of its own.  temperature: at 0, votes
    differ only as far as the server does not repeat itself.  key: None takes DRAGFIELD_API_KEY of the process that asks, so that no plan
    and no message to another machine holds it.  should_stop: looked at while the server is waited for.
    Raises: ValueError for an address, a folder, a number of votes or a temperature that can't be, and where a key would travel in the
    clear.
    """

    url: str
    model: str
    votes: int = 1
    temperature: float = 0.0
    timeout: float = 120.0
    tries: int = 3
    pause: float = 1.0
    key: str | None = field(default=None, repr=False, compare=False)
    should_stop: Callable[[], bool] | None = field(default=None, repr=False, compare=False)
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 1 <= self.votes <= 100:
            raise ValueError(f"{self.votes} votes of a judge: use 1 to 100")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"a judge's temperature of {self.temperature:g}: use 0, which repeats itself best, to 2")
        if self.url:
            self.endpoint()
        elif not (Path(self.model) / "config.json").is_file():
            raise ValueError(f"{self.model} is no folder with a config.json: name one of a vision-language model, as transformers saves it")
        elif self.votes > 1 or self.temperature > 0:
            raise ValueError("a judge from a folder always says the same: leave it at 1 vote and temperature 0")

    def __str__(self) -> str:
        if not self.url:
            return f"{Path(self.model).name}, from a folder"
        return f"{self.model} at {urlsplit(self.url).netloc}, {self.votes} votes at temperature {self.temperature:g}"

    def endpoint(self) -> Endpoint:
        key = os.environ.get(KEY, "").strip() if self.key is None else self.key
        return Endpoint(self.url, self.model, key, timeout=self.timeout, tries=self.tries, pause=self.pause)

    def verdict(self, edit: Judged) -> dict[str, Any]:
        """Mean and spread (standard deviation) of each aspect, and every vote with its words. It is asked for once, and kept among the
        edit's remarks.

        Raises: ServerError without a usable reply; AnswerError where two answers in a row hold no two numbers; Interrupted on should_stop.
        """
        if "judge" not in edit.remarks:
            votes = [self._vote(edit, (edit.seed + i) % SEEDS) for i in range(self.votes)]
            figures = {name: [getattr(vote, name) for vote in votes] for name in ASPECTS}
            told = {name: {"mean": fmean(values), "spread": pstdev(values)} for name, values in figures.items()}
            edit.remarks["judge"] = {"judge": str(self), **told, "votes": [vars(vote) for vote in votes]}
        return edit.remarks["judge"]

    def _vote(self, edit: Judged, seed: int) -> Vote:
        plain = question_of(edit, self.temperature, seed)
        formats, problem = formats_of(plain), ""
        for _ in range(2):
            text = plain.text + (f"\n\nAn earlier answer could not be read: {problem}. Answer with the JSON alone." if problem else "")
            asked = Question(text, plain.pictures, plain.name, plain.schema, plain.sampling, plain.quality)
            try:
                return Vote(seed, *read_verdict(self._answer(asked, formats)))
            except AnswerError as error:
                problem = str(error)
        raise AnswerError(f"{self.model} was asked twice: {problem}; try another model")

    def _answer(self, question: Question, formats: list[dict[str, Any]]) -> str:
        if self.url:
            return complete(self.endpoint(), question, formats, self.should_stop)
        return local.generate(*local.kept(Path(self.model), self.device), list(question.pictures), question.text, self.should_stop)


def quality(edit: Judged, judge: Judge) -> float:
    """How natural and free of faults the edited picture is, 0 to 10, mean of the votes. Higher is better; the unchanged picture is best."""
    return judge.verdict(edit)["quality"]["mean"]


def drag_done(edit: Judged, judge: Judge) -> float:
    """How well what was asked for has been done, 0 to 10, mean of the votes. Higher is better; nothing moved should be near 0."""
    return judge.verdict(edit)["drag"]["mean"]


def question_of(edit: Judged, temperature: float, seed: int) -> Question:
    """The picture, the drag drawn on it and the edit, at most 768 px on a side, with what is asked of them."""
    before, after = (np.rint(picture.clip(0, 1) * 255).astype(np.uint8) for picture in (edit.before, edit.after))
    pictures = tuple(shrunk(picture) for picture in (before, marked(before, edit.drag), after))
    return Question(_text(edit), pictures, "verdict", SCHEMA, {"temperature": temperature, "seed": seed}, FINE)


def read_verdict(text: str) -> tuple[float, float, str]:
    """Quality, drag and words of an answer: JSON, with or without words around it, or lines such as "Quality: 7/10".

    Raises: AnswerError for one without the two numbers, or with one that is not from 0 to 10.
    """
    try:
        told = {str(name).strip().lower(): value for name, value in json_object(text).items()}
    except AnswerError:
        told = {}
    if not any(name in told for name in ASPECTS):
        told = {name: found[1] for name in ASPECTS if (found := re.search(_LINE.format(name), text, re.IGNORECASE))}
        told["words"] = text
    return *(_score(name, told.get(name), text) for name in ASPECTS), one_line(told.get("words", ""))


_LINE = r"\b{}\b[\s\"'*_]*[:=][\s\"'*_]*(-?[\d.]+(?:\s*(?:/|out\s+of)\s*[\d.]+)?)"
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)\.?(?:\s*(?:/|out\s+of)\s*(\d+)(?:\.0*)?)?", re.IGNORECASE)


def _score(name: str, value: Any, text: str) -> float:
    if value is None:
        raise AnswerError(f"the answer {show(text.strip())} gives no number for {name}")
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value.strip())) and found[2] in (None, str(HIGHEST)):
        value = float(found[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not 0 <= value <= HIGHEST:
        raise AnswerError(f"{name} is {show(value)}, not a number from 0 to {HIGHEST}")
    return float(value)


def _text(edit: Judged) -> str:
    width, height = edit.size
    moves = [
        f"- from ({o.start[0] / width:.3f}, {o.start[1] / height:.3f}) to ({o.target[0] / width:.3f}, {o.target[1] / height:.3f})"
        for o in edit.operations
    ]
    shows = [f"The picture shows: {one_line(edit.prompt)}"] if edit.prompt else []
    return "\n".join(
        [
            "A picture was edited by dragging parts of it to other places, and you judge how well. The first image is the picture before. "
            "The second one is the same with the drag drawn on it: blue marks what was taken, green where it should land, an arrow leads "
            "from one to the other. The third one is the edited picture. It alone is judged, and it has none of these marks to show.",
            "Positions are fractions of the picture: (0, 0) is its top left corner, (1, 1) its bottom right one.",
            *moves,
            *shows,
            "",
            f"Say in a few sentences what you see. Then give two numbers from 0 to {HIGHEST}, halves are fine:",
            "- quality: is the third image free of faults that the first one does not have? Look for doubles and ghosts, torn or smeared "
            "parts, wrong limbs or faces, seams, a background that became another one. 0: ruined. 5: plain faults. 10: nobody could tell "
            "that it was edited. Whether the drag was done does not count here.",
            "- drag: was done what the arrows ask for? 0: nothing moved, or something else did. 5: the right part moved, but not as far, "
            "or it is still at its old place too. 10: it is where it should land, whole, and has left its old place.",
            "",
            "Answer with JSON only, in this form:",
            '{"words": "the cup stands further right, its handle is smeared", "quality": 6, "drag": 9}',
        ]
    )

"""A judge on a real HTTP server on this machine: what it is shown and asked, what its answers come to, and where the key goes."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import pytest
from PIL import Image

from dragfield.core.instruction.operations import Drag, PointOperation, RegionOperation
from dragfield.core.intent.answer import AnswerError
from dragfield.core.intent.chat import ServerError
from dragfield.core.metrics.backbones import Backbones
from dragfield.core.metrics.judge import KEY, Judge, read_verdict
from dragfield.core.metrics.judged import Judged, operations_of
from dragfield.core.metrics.table import METRICS, chosen
from dragfield.core.progress import Interrupted

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves the folder of a test off the path
from chat_server import completion, send, server  # noqa: E402

SIZE = (96, 64)
REGION = np.zeros(SIZE[::-1], bool)
REGION[20:36, 20:40] = True
DRAG = Drag(SIZE, (RegionOperation(REGION, "relocation", (66.0, 28.0)),), (PointOperation((10.0, 50.0), (30.0, 50.0)),))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


def smooth(seed: int) -> np.ndarray:
    """A picture that a JPEG keeps."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (4, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC), np.float32) / 255


def edit(after: np.ndarray | None = None, **more) -> Judged:
    before = smooth(0)
    return Judged(before, before if after is None else after, np.ones(SIZE[::-1], bool), operations_of(DRAG), DRAG, **more)


def pictures_of(body: dict) -> list[np.ndarray]:
    urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))), np.float32) / 255 for url in urls]


def answer(quality: object = 7, drag: object = 4, words: str = "fine") -> str:
    return completion(json.dumps({"words": words, "quality": quality, "drag": drag}))


def always(reply: str) -> Callable:
    return lambda handler, n: send(handler, 200, reply)


def test_a_server_that_measures_the_pictures_gives_what_they_are_worth() -> None:
    """It judges by what it is sent: quality by the likeness of the third picture to the first, the drag by whether the third changed."""

    def reply(handler, n: int) -> None:
        before, _, after = pictures_of(seen.bodies[n])
        off = float(np.abs(before - after).mean())
        send(handler, 200, answer(10 - 10 * off, 10.0 if off > 0.05 else 0.0))

    half = smooth(0) * 0.5
    with server(reply) as (url, seen):
        networks = Backbones(judge=Judge(url, "m"))
        still, darker = edit(), edit(half)
        assert METRICS["gscore"].measure(still, networks) == 10 and METRICS["gscore_drag"].measure(still, networks) == 0
        off = float(np.abs(smooth(0) - half).mean())
        assert METRICS["gscore"].measure(darker, networks) == pytest.approx(10 - 10 * off, abs=0.05)
        assert METRICS["gscore_drag"].measure(darker, networks) == 10
    # Both scores of an edit are of one answer.
    assert len(seen.bodies) == 2


def test_it_is_shown_the_picture_the_drag_on_it_and_the_edit_and_told_the_drag() -> None:
    with server(always(answer())) as (url, seen):
        Judge(url, "m").verdict(edit(smooth(1), prompt="a fox\non a hill"))
    (body,) = seen.bodies
    before, drawn, after = pictures_of(body)
    assert np.abs(before - smooth(0)).max() < 0.1 and np.abs(after - smooth(1)).max() < 0.1
    # Blue lies over what was taken and green over where it should land; elsewhere it is the picture.
    assert (drawn - before)[24:32, 24:36, 2].mean() > 0.05 > np.abs(drawn - before)[:15].mean()
    text = body["messages"][0]["content"][0]["text"]
    assert "from (0.312, 0.438) to (0.688, 0.438)" in text and "from (0.104, 0.781) to (0.312, 0.781)" in text
    assert "The picture shows: a fox on a hill" in text
    assert body["temperature"] == 0 and body["response_format"]["json_schema"]["name"] == "verdict"


def test_votes_have_seeds_of_their_own_and_come_to_mean_and_spread() -> None:
    scores = [6, 9, 7.5]
    with server(lambda handler, n: send(handler, 200, answer(scores[n % 3], n % 3, f"vote {n % 3}"))) as (url, seen):
        judge = Judge(url, "m", votes=3, temperature=0.4)
        first, again = (judge.verdict(edit(smooth(1), seed=(1 << 31) - 2)) for _ in range(2))
    assert [body["seed"] for body in seen.bodies] == [(1 << 31) - 2, (1 << 31) - 1, 0] * 2
    assert {body["temperature"] for body in seen.bodies} == {0.4}
    assert first == again and first["quality"] == {"mean": fmean(scores), "spread": pstdev(scores)}
    assert first["drag"] == {"mean": 1, "spread": pytest.approx(pstdev([0, 1, 2]))}
    assert [vote["words"] for vote in first["votes"]] == ["vote 0", "vote 1", "vote 2"]
    # The same questions again, word for word.
    assert seen.bodies[:3] == seen.bodies[3:]


@pytest.mark.parametrize(("text", "expected"), [
    ('{"words": "good", "quality": 7, "drag": 4.5}', (7, 4.5, "good")),
    ('```json\n{"Quality": "7/10", "Drag": "4 out of 10"}\n```', (7, 4, "")),
    ('I think\n{"quality": 0, "drag": 10.0, "words": "a\\nb", "more": [1]} as asked', (0, 10, "a b")),
    ("**Quality:** 8/10\nDrag: 6.5. It is smeared", (8, 6.5, "**Quality:** 8/10 Drag: 6.5. It is smeared")),
    ("quality = 3\ndrag = 10", (3, 10, "quality = 3 drag = 10")),
])  # fmt: skip
def test_an_answer_is_read_however_it_is_wrapped(text: str, expected: tuple) -> None:
    assert read_verdict(text) == expected


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "gives no number for quality"),
    ("I cannot judge pictures of people.", "the answer 'I cannot judge pictures of people.' gives no number for quality"),
    ('{"quality": 7}', "gives no number for drag"),
    ('{"quality": 85, "drag": 4}', "quality is 85, not a number from 0 to 10"),
    ('{"quality": -1, "drag": 4}', "quality is -1, not a number from 0 to 10"),
    ('{"quality": "7/100", "drag": 4}', "quality is '7/100', not a number"),
    ('{"quality": true, "drag": 4}', "quality is true, not a number"),
    ('{"quality": [7, 8], "drag": 4}', r"quality is \[7, 8\], not a number"),
    ('{"quality": NaN, "drag": 4}', "gives no number for quality|not a number"),
    ("quality: high, drag: 4", "gives no number for quality"),
    ("quality: 7.5.1 drag: 4", "quality is '7.5.1', not a number"),
    ("[" * 100_000, "gives no number for quality"),
])  # fmt: skip
def test_an_answer_without_two_numbers_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(AnswerError, match=sentence) as refused:
        read_verdict(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


def test_a_judge_that_chats_is_asked_once_more_and_told_why() -> None:
    replies = [completion("Lovely picture!"), answer(5, 6)]
    with server(lambda handler, n: send(handler, 200, replies[n])) as (url, seen):
        assert Judge(url, "m").verdict(edit())["quality"]["mean"] == 5
    first, second = (body["messages"][0]["content"][0]["text"] for body in seen.bodies)
    assert second.startswith(first) and "'Lovely picture!' gives no number for quality" in second
    with server(always(completion("Lovely picture!"))) as (url, seen):
        with pytest.raises(AnswerError, match="m was asked twice: .* another model"):
            Judge(url, "m").verdict(edit())
    assert len(seen.bodies) == 2


def test_a_busy_judge_is_asked_again_and_a_dead_one_is_a_sentence() -> None:
    replies = [(503, "full"), (200, answer())]
    with server(lambda handler, n: send(handler, *replies[n])) as (url, _):
        assert Judge(url, "m", pause=0.01).verdict(edit())["quality"]["mean"] == 7
    with pytest.raises(ServerError, match="can't be reached .* asked 2 times"):
        Judge(url, "m", tries=2, pause=0.01).verdict(edit())


def test_a_judge_is_left_when_the_user_cancels() -> None:
    with server(always(answer())) as (url, _), pytest.raises(Interrupted):
        Judge(url, "m", should_stop=lambda: True).verdict(edit())


def test_the_key_is_the_environments_goes_to_the_named_server_and_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, " top-secret ")
    stolen: list = []
    with server(always(answer())) as (other, elsewhere):

        def moved(handler, n: int) -> None:
            handler.send_response(302)
            handler.send_header("Location", other + "/chat/completions")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with server(moved) as (url, seen), pytest.raises(ServerError, match="answered 302, which is not followed"):
            Judge(url, "m").verdict(edit())
        stolen += elsewhere.keys
    assert seen.keys == ["Bearer top-secret"] and not stolen
    judge = Judge(url, "m")
    networks = Backbones(judge=judge)
    # What a plan is written down as, and what goes to a worker on another machine.
    for told in (repr(judge), str(judge), repr(networks), json.dumps(networks.names()), repr(pickle.dumps(networks))):
        assert "top-secret" not in told and "m" in told
    with pytest.raises(ValueError, match="the key would be sent in the clear to example.com: use https"):
        Judge("http://example.com/v1", "m")
    assert "top-secret" not in repr(Judge(url, "m", key="top-secret"))


def test_a_judge_that_can_t_be_is_refused_before_anything_is_sent() -> None:
    for told, sentence in (({"votes": 0}, "0 votes of a judge: use 1 to 100"), ({"temperature": 3}, "temperature of 3: use 0"),
                           ({"url": "here"}, "no web address"), ({"model": " "}, "no model is named")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            Judge(**{"url": "http://localhost:1/v1", "model": "m", **told})
    with pytest.raises(ValueError, match="metric gscore needs a network: name it by --judge"):
        chosen(("gscore",), Backbones())
    assert re.fullmatch(r"m at localhost:1, 2 votes at temperature 0", str(Judge("http://localhost:1/v1", "m", 2)))


def test_a_model_from_a_folder_judges_without_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dragfield.core.intent import local

    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    seen = []
    monkeypatch.setattr(local, "kept", lambda folder, device: (folder, device))

    def generate(model, processor, pictures, text, should_stop):
        seen.append((model, processor, [picture.shape for picture in pictures], text))
        return '{"words": "as it was", "quality": 9, "drag": 1}'

    monkeypatch.setattr(local, "generate", generate)
    judge = Judge("", str(tmp_path))
    found = judge.verdict(edit())
    assert (found["quality"]["mean"], found["drag"]["mean"]) == (9, 1) and str(judge) == f"{tmp_path.name}, from a folder"
    ((model, device, shapes, text),) = seen
    assert (model, device) == (tmp_path, "cpu") and shapes == [(64, 96, 3)] * 3 and "Answer with JSON" in text
    for wrong, words in (({"votes": 2}, "1 vote"), ({"temperature": 0.4}, "temperature 0")):
        with pytest.raises(ValueError, match=words):
            Judge("", str(tmp_path), **wrong)
    with pytest.raises(ValueError, match=r"no folder with a config.json"):
        Judge("", str(tmp_path / "nowhere"))
    assert pickle.loads(pickle.dumps(judge)) == judge

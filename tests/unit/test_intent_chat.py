"""Asking a real HTTP server on this machine: good, slow, broken and hostile ones."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from dragfield.core.instruction import DragInstruction, DrawnRegion
from dragfield.core.intent.answer import AnswerError
from dragfield.core.intent.chat import Endpoint, ServerError, ask
from dragfield.core.intent.request import make_request
from dragfield.core.progress import Interrupted

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves the folder of a test off the path
from chat_server import completion, send, server  # noqa: E402

DRAG = DragInstruction((DrawnRegion("relocation", [[[(0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.4)]]], (0.6, 0.5)),), size=(32, 32))
REQUEST = make_request(np.zeros((32, 32, 3), np.uint8), DRAG)
GOOD = json.dumps({"background_prompt": "a room", "candidates": [{"editing_prompt": "further", "regions": [{"task": "relocation"}]}]})


def test_a_good_server_is_shown_both_pictures_and_its_reading_comes_back() -> None:
    with server(lambda handler, n: send(handler, 200, completion(GOOD))) as (url, seen):
        intent = ask(Endpoint(url + "/", "m", key="secret"), REQUEST, DRAG)
    assert intent.background_prompt == "a room" and intent.candidates[0].editing_prompt == "further"
    (body,) = seen.bodies
    kinds = [part["type"] for part in body["messages"][0]["content"]]
    assert kinds == ["text", "image_url", "image_url"] and body["response_format"]["type"] == "json_schema"
    assert seen.paths == ["/v1/chat/completions"] and seen.keys == ["Bearer secret"]


def test_an_answer_in_parts_is_put_together() -> None:
    parts = [{"type": "text", "text": GOOD[:30]}, {"type": "text", "text": GOOD[30:]}]
    with server(lambda handler, n: send(handler, 200, completion(parts))) as (url, _):
        assert ask(Endpoint(url, "m"), REQUEST, DRAG).background_prompt == "a room"


def test_a_server_without_schemas_is_asked_more_simply() -> None:
    def reply(handler: BaseHTTPRequestHandler, n: int) -> None:
        wanted = seen.bodies[n].get("response_format", {}).get("type")
        send(handler, 400, '{"error": {"message": "no such format"}}') if wanted else send(handler, 200, completion(GOOD))

    with server(reply) as (url, seen):
        ask(Endpoint(url, "m"), REQUEST, DRAG)
    assert [b.get("response_format", {}).get("type") for b in seen.bodies] == ["json_schema", "json_object", None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    replies = [(status, "busy"), (200, completion(GOOD))]
    with server(lambda handler, n: send(handler, *replies[n])) as (url, seen):
        ask(Endpoint(url, "m", pause=0.01), REQUEST, DRAG)
    assert len(seen.bodies) == 2


def test_a_server_that_stays_busy_is_given_up() -> None:
    with server(lambda handler, n: send(handler, 503, "full")) as (url, seen), pytest.raises(ServerError, match="asked 3 times"):
        ask(Endpoint(url, "m", pause=0.01), REQUEST, DRAG)
    assert len(seen.bodies) == 3


def test_a_slow_server_is_not_waited_for() -> None:
    release = threading.Event()
    with server(lambda handler, n: release.wait(20)) as (url, _):
        began = time.monotonic()
        with pytest.raises(ServerError, match="did not answer within 0.3 s"):
            ask(Endpoint(url, "m", timeout=0.3, tries=1), REQUEST, DRAG)
        assert time.monotonic() - began < 5
        release.set()


def test_a_reply_that_drips_for_ever_is_not_waited_for() -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, n: int) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    with server(drip) as (url, _):
        with pytest.raises(ServerError, match="within 0.4 s"):
            ask(Endpoint(url, "m", timeout=0.4, tries=1), REQUEST, DRAG)
        stop.set()


def test_cancelling_ends_the_wait_at_once() -> None:
    release = threading.Event()
    with server(lambda handler, n: release.wait(20)) as (url, _):
        began = time.monotonic()
        with pytest.raises(Interrupted):
            ask(Endpoint(url, "m", timeout=30), REQUEST, DRAG, should_stop=lambda: time.monotonic() - began > 0.2)
        assert time.monotonic() - began < 5
        release.set()


@pytest.mark.parametrize(
    ("status", "data", "sentence"),
    [
        (200, "<html>hello</html>", "no chat completion"),
        (200, "{}", "no chat completion"),
        (200, '{"choices": []}', "no chat completion"),
        (200, b"\xff\xfe\x00", "no chat completion"),
        (200, b" " * 2_000_001, "more than 2,000,000 bytes"),
        (401, "{}", "does not accept the key"),
        (404, '{"error": {"message": "model not found"}}', "model not found"),
        (302, "", "not followed"),
    ],
)
def test_a_broken_or_hostile_reply_is_one_sentence(status: int, data: bytes | str, sentence: str) -> None:
    with server(lambda handler, n: send(handler, status, data)) as (url, _), pytest.raises(ServerError, match=sentence) as refused:
        ask(Endpoint(url, "m"), REQUEST, DRAG)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_model_that_talks_nonsense_is_asked_twice() -> None:
    replies = [completion("I am a teapot"), completion(GOOD)]
    with server(lambda handler, n: send(handler, 200, replies[n])) as (url, _):
        assert ask(Endpoint(url, "m"), REQUEST, DRAG).background_prompt == "a room"
    with server(lambda handler, n: send(handler, 200, completion(None))) as (url, seen), pytest.raises(AnswerError, match="asked twice"):
        ask(Endpoint(url, "m"), REQUEST, DRAG)
    assert len(seen.bodies) == 2


def test_a_server_that_hangs_up_or_is_not_there_is_one_sentence() -> None:
    with server(lambda handler, n: handler.connection.close()) as (url, _), pytest.raises(ServerError, match="can't be reached"):
        ask(Endpoint(url, "m", tries=1), REQUEST, DRAG)
    with pytest.raises(ServerError, match="is it running"):
        ask(Endpoint(url, "m", tries=1), REQUEST, DRAG)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"url": "file:///etc/passwd", "model": "m"}, "no web address"),
        ({"url": "localhost:11434", "model": "m"}, "no web address"),
        ({"url": "https://me:secret@host/v1", "model": "m"}, "give the key apart"),
        ({"url": "http://host/v1", "model": " "}, "no model is named"),
        ({"url": "http://host/v1", "model": "m", "key": "secret"}, "in the clear"),
        ({"url": "http://host/v1", "model": "m", "timeout": 0}, "above 0"),
    ],
)
def test_a_bad_endpoint_is_refused_before_anything_is_sent(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        Endpoint(**settings)
    assert "secret" not in str(refused.value)


def test_the_key_is_never_shown() -> None:
    assert "secret" not in repr(Endpoint("http://127.0.0.1/v1", "m", key="secret"))

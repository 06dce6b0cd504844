"""Asking any server that speaks OpenAI's chat completions (Ollama, llama.cpp, vLLM, LM Studio, the clouds), above all what a drag means.

Nothing is sent before `ask` or `complete` is called. The key is an argument of the call and goes to the named server only: redirects are
not followed, and over plain http it is sent to this machine alone. The request runs beside the caller, so that it can be cancelled
at any time.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..instruction import DragInstruction
from ..instruction.guarded_json import show
from ..progress import Interrupted
from .answer import AnswerError, Intent, read_intent
from .question import Question, as_data_url
from .request import Request

OLLAMA = "http://localhost:11434/v1"
"""Where a server is looked for unless an address is given: on this machine."""
MAX_BYTES = 2_000_000
"""A longer reply is not an answer to this question."""
POLL = 0.1
"""Seconds between two looks at whether the user has cancelled."""


class ServerError(OSError):
    """The server could not be asked, or did not answer usably; one sentence says what and what to do."""


@dataclass(frozen=True)
class Endpoint:
    """A server and how patiently it is asked.

    url: up to and without /chat/completions, as "http://localhost:11434/v1".  model: the name it goes by there.
    key: the secret; never shown.  timeout: seconds for one try.  tries: how often in all, after time-outs, refusals of service (429) and
    faults of the server (5xx).  pause: seconds before the second try, doubled each time.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    tries: int = 3
    pause: float = 1.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the endpoint {show(self.url)} is no web address: write it as http://localhost:11434/v1 or https://...")
        if parts.username or parts.password:
            raise ValueError("the endpoint has a name or password in it, which the workflow would keep: give the key apart from it")
        if not self.model.strip():
            raise ValueError("no model is named: write the name that the server lists, for example qwen2.5vl:7b")
        if not (self.timeout > 0 and self.tries >= 1 and self.pause >= 0):
            asked = f"timeout {self.timeout} s, {self.tries} tries, pause {self.pause} s"
            raise ValueError(f"{asked}: use a timeout above 0, at least 1 try, and a pause of 0 or more")
        if self.key and parts.scheme == "http" and not _is_here(parts.hostname):
            raise ValueError(f"the key would be sent in the clear to {parts.hostname}: use https, or no key")


def ask(endpoint: Endpoint, request: Request, instruction: DragInstruction, should_stop: Callable[[], bool] | None = None) -> Intent:
    """The server's reading of the drag.

    A server that can't hold to a JSON schema is asked for any JSON, then for plain text. An answer that can't be used is asked for
    once more.

    Raises: ServerError when there is no usable reply; AnswerError when the model's answers make no sense; Interrupted on should_stop.
    """
    problem: AnswerError | None = None
    question = Question(request.text, (request.picture, request.marked), "drag_intent", request.schema)
    formats = formats_of(question)
    for _ in range(2):
        text = complete(endpoint, question, formats, should_stop)
        try:
            return read_intent(text, instruction)
        except AnswerError as error:
            problem = error
    raise AnswerError(f"{endpoint.model} was asked twice: {problem}; try another model, or describe the drag yourself")


def complete(
    endpoint: Endpoint, question: Question, formats: list[dict[str, Any]], should_stop: Callable[[], bool] | None = None
) -> str:  # fmt: skip
    """The text of one completion. formats: of `formats_of`; those that the server refuses are dropped from it.

    Raises: ServerError when there is no usable reply; Interrupted on should_stop.
    """
    while True:
        body = _body(endpoint, question, formats[0])
        try:
            return _content(_with_tries(endpoint, body, should_stop))
        except _Refused:
            if len(formats) == 1:
                raise
            formats.pop(0)


def formats_of(question: Question) -> list[dict[str, Any]]:
    """From the strictest way to ask for JSON to none at all."""
    schema = {"name": question.name, "strict": True, "schema": question.schema}
    return [{"response_format": {"type": "json_schema", "json_schema": schema}}, {"response_format": {"type": "json_object"}}, {}]


class _Refused(ServerError):
    """The server does not understand the request (HTTP 400, 415, 422)."""


class _Busy(ServerError):
    """Worth another try."""


def _with_tries(endpoint: Endpoint, body: bytes, should_stop: Callable[[], bool] | None) -> bytes:
    problem: _Busy | None = None
    for attempt in range(endpoint.tries):
        if attempt:
            _wait(endpoint.pause * 2 ** (attempt - 1), should_stop)
        try:
            return _send(endpoint, body, should_stop)
        except _Busy as error:
            problem = error
    raise ServerError(str(problem) if endpoint.tries == 1 else f"{problem}; asked {endpoint.tries} times")


def _send(endpoint: Endpoint, body: bytes, should_stop: Callable[[], bool] | None) -> bytes:
    """One POST, in a thread of its own; the caller looks at `should_stop` meanwhile and leaves when it says so."""
    connection = _connection(endpoint)
    done: dict[str, Any] = {}

    def work() -> None:
        try:
            done["reply"] = _exchange(endpoint, connection, body)
        except Exception as error:  # handed to the caller's thread
            done["error"] = error
        finally:
            connection.close()

    thread = threading.Thread(target=work, daemon=True)
    until = time.monotonic() + endpoint.timeout
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL)
            if should_stop is not None and should_stop():
                raise Interrupted(f"asking {_where(endpoint)} was cancelled")
            if time.monotonic() > until:
                raise _Busy(f"{_where(endpoint)} did not answer within {endpoint.timeout:g} s")
    finally:
        if thread.is_alive():
            _hang_up(connection)
    if "error" in done:
        raise _as_server_error(endpoint, done["error"])
    return done["reply"]


def _exchange(endpoint: Endpoint, connection: http.client.HTTPConnection, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    connection.request("POST", urlsplit(endpoint.url).path.rstrip("/") + "/chat/completions", body, headers)
    response = connection.getresponse()
    data = response.read(MAX_BYTES + 1)
    status = response.status
    if status in (400, 415, 422):
        raise _Refused(f"{_where(endpoint)} refuses the request: {_complaint(data)}")
    if status in (401, 403):
        raise ServerError(f"{_where(endpoint)} does not accept the key: set DRAGFIELD_API_KEY to one that it knows")
    if status == 404:
        raise ServerError(f"{_where(endpoint)} knows no model {endpoint.model!r}, or the address lacks its /v1: {_complaint(data)}")
    if status == 429 or status >= 500:
        raise _Busy(f"{_where(endpoint)} answered {status} ({_complaint(data)})")
    if status != 200:
        raise ServerError(f"{_where(endpoint)} answered {status}, which is not followed: check the address")
    if len(data) > MAX_BYTES:
        raise ServerError(f"{_where(endpoint)} sent more than {MAX_BYTES:,} bytes, which is no answer to this question: check the address")
    return data


def _as_server_error(endpoint: Endpoint, error: Exception) -> Exception:
    if isinstance(error, ServerError):
        return error
    if isinstance(error, ssl.SSLError):
        return ServerError(f"{_where(endpoint)} has no valid certificate ({error.reason or error}): check the address")
    if isinstance(error, TimeoutError):
        return _Busy(f"{_where(endpoint)} did not answer within {endpoint.timeout:g} s")
    if isinstance(error, OSError | http.client.HTTPException):
        return _Busy(f"{_where(endpoint)} can't be reached ({error or type(error).__name__}): is it running?")
    return error


def _body(endpoint: Endpoint, question: Question, response_format: dict[str, Any]) -> bytes:
    pictures = [{"type": "image_url", "image_url": {"url": as_data_url(picture, question.quality)}} for picture in question.pictures]
    content = [{"type": "text", "text": question.text}, *pictures]
    message = {"model": endpoint.model, "messages": [{"role": "user", "content": content}], "stream": False}
    return json.dumps(message | dict(question.sampling) | response_format).encode()


def _content(reply: bytes) -> str:
    try:
        content = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ServerError(f"the reply {show(reply[:80].decode('utf-8', 'replace'))} is no chat completion: check the address") from None
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _complaint(data: bytes) -> str:
    """What the server says is wrong, short and printable."""
    try:
        found = json.loads(data)
        found = found.get("error", found) if isinstance(found, dict) else found
        found = found.get("message", found) if isinstance(found, dict) else found
    except (ValueError, RecursionError):
        found = data.decode("utf-8", "replace")
    words = " ".join("".join(c if c.isprintable() else " " for c in str(found)).split())
    return words[:200] or "no reason given"


def _connection(endpoint: Endpoint) -> http.client.HTTPConnection:
    parts = urlsplit(endpoint.url)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=endpoint.timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=endpoint.timeout)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End the exchange under the thread that still waits for it; closing alone would leave it waiting."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _wait(seconds: float, should_stop: Callable[[], bool] | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if should_stop is not None and should_stop():
            raise Interrupted("asking a server was cancelled")
        time.sleep(min(POLL, left))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _where(endpoint: Endpoint) -> str:
    return urlsplit(endpoint.url).netloc

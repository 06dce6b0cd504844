"""A ComfyUI server of its own for a test run: started with the pack linked in, asked over HTTP, ended again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-Dragfield"


class Refused(Exception):
    """The server did not take a prompt; the argument is its answer."""


class Server:
    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=120) as answer:
            return json.load(answer)

    def post(self, path: str, data: dict[str, Any]) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(data).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            raise Refused(error.read().decode()) from None

    def start(self, prompt: dict[str, Any]) -> str:
        """Queue a prompt. -> its id.  Raises Refused."""
        return self.post("/prompt", {"prompt": prompt})["prompt_id"]

    def finish(self, prompt_id: str, seconds: float = 1200) -> dict[str, Any]:
        """Wait for a prompt. -> its history: "outputs" by node, "status"."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.5)
        raise TimeoutError(f"no answer within {seconds} s")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        return self.finish(self.start(prompt))

    def picture(self, image: dict[str, str]) -> bytes:
        """The file of an image in a history."""
        query = urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")})
        with urllib.request.urlopen(f"{self.url}/view?{query}", timeout=120) as answer:
            return answer.read()


def cached(history: dict[str, Any]) -> set[str]:
    """Ids of the nodes that did not run again."""
    return {node for name, message in history["status"]["messages"] if name == "execution_cached" for node in message["nodes"]}


def failure(history: dict[str, Any]) -> dict[str, Any] | None:
    """What went wrong, or None."""
    return next((message for name, message in history["status"]["messages"] if name == "execution_error"), None)


def node(object_info: dict[str, Any], kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt with the schema's defaults for what is not given."""
    defaults = {}
    for name, (type_, *rest) in object_info[kind]["input"].get("required", {}).items():
        options = rest[0] if rest else {}
        # Core's older nodes list what may be chosen in place of a type.
        choices = type_ if isinstance(type_, list) else options["options"] if type_ == "COMBO" else []
        if "default" in options or choices:
            defaults[name] = options.get("default", choices[0] if choices else None)
    return {"class_type": kind, "inputs": {**defaults, **inputs}}


@contextmanager
def serving(comfyui: str, base: Path, *arguments: str, port: int | None = None) -> Iterator[Server]:
    """A server with its folders under `base` and this checkout as its only pack; arguments: more of main.py's.  port: None: a free one."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
    # The picture that every ComfyUI has, which workflows load until they are given another.
    (base / "input").mkdir()
    shutil.copy(Path(comfyui) / "input" / "example.png", base / "input")
    port = port or free_port()
    command = [sys.executable, str(Path(__file__).with_name("serve.py")), comfyui, "--cpu", "--port", str(port)]
    command += ["--base-directory", str(base), "--disable-api-nodes", "--database-url", "sqlite:///:memory:", *arguments]
    with (base / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=base, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    server = Server(f"http://127.0.0.1:{port}", process.pid)
    try:
        _await(server, process, base / "log.txt")
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await(server: Server, process: subprocess.Popen, log: Path, seconds: float = 900) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            server.get("/system_stats")
            return
        except OSError:
            time.sleep(1)
    raise TimeoutError(f"ComfyUI did not start within {seconds} s:\n{log.read_text()[-3000:]}")

"""Queue a folder of drags on running ComfyUI servers, and fetch what they make. Needs nothing but Python.

    python scripts/comfyui_batch.py FOLDER --workflow workflow_api.json --out RESULTS --server http://127.0.0.1:8188 --server http://...

FOLDER holds NAME.json (docs/instruction.md) beside NAME.png, .jpg, .jpeg or .webp. The workflow is one that works, saved by Export (API);
each sample's picture goes into its LoadImage and its drag into its Drag Canvas, everything else stays as it is. What the workflow saves
comes to RESULTS/NAME.png, or with the ending that the server gave it.

Every server does one sample at a time. One that dies is waited for, and its sample goes to whichever is free; a sample that fails is tried
again, then left out and told in RESULTS/errors.json. Results are whole or absent, so that the same command goes on wherever it was stopped.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import queue
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SUBFOLDER = "dragfield_batch"
"""Of the servers' input folders, where the pictures go."""
POLL, DOWN = 0.5, 2.0
"""Seconds between two questions to a server that works, and to one that is down."""
LOST = (OSError, http.client.HTTPException)
"""What a server that dies looks like from here; urllib's errors are OSErrors."""


class Refused(Exception):
    """The server could not run a sample, and says why."""


class Invalid(Refused):
    """It would not even begin: another time won't help."""


class Vanished(Exception):
    """The server has forgotten a prompt: it was started anew."""


@dataclass(frozen=True)
class Sample:
    name: str
    picture: Path
    instruction: str


@dataclass(frozen=True)
class Workflow:
    """A prompt, and the nodes that picture and drag go into."""

    prompt: dict[str, Any]
    picture_node: str
    drag_node: str

    @classmethod
    def read(cls, path: Path, picture_node: str | None, drag_node: str | None) -> Workflow:
        """Raises ValueError for a file that is no workflow in API format, or where it is not clear which node is meant."""
        try:
            prompt = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"--workflow {path} can't be read ({type(error).__name__}); save it by Export (API)") from None
        if not isinstance(prompt, dict) or not prompt or not all(isinstance(n, dict) and "class_type" in n for n in prompt.values()):
            raise ValueError(f"--workflow {path} is no workflow in API format; save it by Export (API), not by Save")
        pictures = [id for id, node in prompt.items() if node["class_type"] == "LoadImage"]
        drags = [id for id, node in prompt.items() if isinstance(node.get("inputs", {}).get("drag"), str)]
        return cls(prompt, _one(picture_node, pictures, prompt, "--picture-node", "LoadImage"),
                   _one(drag_node, drags, prompt, "--drag-node", "node with a drag of its own, such as Drag Canvas"))

    def of(self, picture: str, instruction: str) -> dict[str, Any]:
        made = copy.deepcopy(self.prompt)
        made[self.picture_node]["inputs"]["image"] = picture
        made[self.drag_node]["inputs"]["drag"] = instruction
        return made


def _one(given: str | None, found: list[str], prompt: dict, option: str, what: str) -> str:
    if given is not None:
        if given not in prompt:
            raise ValueError(f"{option} {given} is not in the workflow; its nodes are {', '.join(prompt)}")
        return given
    if len(found) != 1:
        raise ValueError(f"the workflow has {len(found)} nodes that could be the {what}; name the one to use by {option}")
    return found[0]


class Server:
    """One ComfyUI. Everything raises one of LOST when it is not there."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout

    def up(self) -> bool:
        try:
            self._json("/system_stats")
        except (*LOST, ValueError):
            return False
        return True

    def edit(self, sample: Sample, workflow: Workflow, stopping: threading.Event) -> tuple[str, bytes]:
        """Run one sample. -> the ending and the bytes of its picture.  Raises Refused, Vanished, TimeoutError."""
        prompt = workflow.of(self._upload(sample), sample.instruction)
        try:
            started = self._json("/prompt", {"prompt": prompt})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise Invalid(_errors(error.read())) from None
        try:
            history = self._finished(started, stopping)
        except (KeyboardInterrupt, TimeoutError):
            self._forget(started)
            raise
        for event, told in history["status"].get("messages", []):
            if event == "execution_error":
                raise Refused(f"{told.get('node_type')}: {str(told.get('exception_message')).strip()}")
        images = [image for output in history["outputs"].values() for image in output.get("images", []) if image["type"] == "output"]
        if not images:
            raise Refused("the workflow saved no picture; put a Save Image at its end")
        query = urllib.parse.urlencode({key: images[0][key] for key in ("filename", "subfolder", "type")})
        return Path(images[0]["filename"]).suffix, self._bytes(f"/view?{query}")

    def _finished(self, started: str, stopping: threading.Event) -> dict[str, Any]:
        until = time.monotonic() + self.timeout
        while time.monotonic() < until:
            if stopping.is_set():
                raise KeyboardInterrupt
            waiting = self._json("/queue")
            # Asked after the queue: what ended in between is here.
            history = self._json(f"/history/{started}")
            if started in history:
                return history[started]
            if not any(started in map(str, entry[:2]) for entries in waiting.values() for entry in entries):
                raise Vanished(f"{self.url} was started anew")
            stopping.wait(POLL)
        raise TimeoutError(f"no result within {self.timeout:.0f} s")

    def _forget(self, started: str) -> None:
        try:
            self._json("/queue", {"delete": [started]})
            self._json("/interrupt", {"prompt_id": started})
        except (*LOST, ValueError):
            pass

    def _upload(self, sample: Sample) -> str:
        """The name under which LoadImage finds the picture."""
        edge = uuid.uuid4().hex
        fields = {"subfolder": SUBFOLDER, "overwrite": "true", "type": "input"}
        parts = [f'--{edge}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
        name = urllib.parse.quote(sample.name) + sample.picture.suffix
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/*\r\n\r\n'
        body = b"".join([*parts, head.encode(), sample.picture.read_bytes(), f"\r\n--{edge}--\r\n".encode()])
        told = json.loads(self._bytes("/upload/image", body, f"multipart/form-data; boundary={edge}"))
        return f"{told['subfolder']}/{told['name']}" if told.get("subfolder") else told["name"]

    def _json(self, path: str, data: Any = None) -> Any:
        answer = self._bytes(path, None if data is None else json.dumps(data).encode(), "application/json")
        return json.loads(answer or b"null")

    def _bytes(self, path: str, data: bytes | None = None, kind: str = "") -> bytes:
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind} if data is not None else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


@dataclass
class Work:
    """What is to be done, shared by the servers' threads. retries: of a sample that failed or lost its server."""

    out: Path
    samples: list[Sample]
    retries: int
    errors: dict[str, str] = field(default_factory=dict)
    done: int = 0

    def __post_init__(self) -> None:
        self.left: queue.SimpleQueue[tuple[Sample, int]] = queue.SimpleQueue()
        for sample in self.samples:
            self.left.put((sample, 0))
        self.began, self._lock, self.stopping = time.monotonic(), threading.Lock(), threading.Event()

    def over(self) -> bool:
        return self.stopping.is_set() or self.done + len(self.errors) == len(self.samples)

    def succeeded(self, sample: Sample, suffix: str, picture: bytes, url: str) -> None:
        write(self.out / f"{sample.name}{suffix}", picture)
        with self._lock:
            self.done += 1
            ready = self.done + len(self.errors)
            left = (time.monotonic() - self.began) / ready * (len(self.samples) - ready)
            print(f"{ready} of {len(self.samples)}: {sample.name} by {url}, {left / 60:.0f} min left", flush=True)

    def failed(self, sample: Sample, tries: int, why: str, *, again: bool = True) -> None:
        with self._lock:
            if again and tries < self.retries:
                print(f"{sample.name} is tried again: {why}", flush=True)
                self.left.put((sample, tries + 1))
                return
            self.errors[sample.name] = why
            print(f"{sample.name} is left out: {why}", flush=True)
            write(self.out / "errors.json", (json.dumps(self.errors, indent=1, ensure_ascii=False) + "\n").encode())


def serve(server: Server, workflow: Workflow, work: Work, patience: float) -> None:
    """Do samples on one server until none is left, or it has been down for `patience` seconds."""
    seen = time.monotonic()
    while not work.over():
        if not server.up():
            if time.monotonic() - seen > patience:
                print(f"{server.url} has been down for {patience:.0f} s and is waited for no longer", flush=True)
                return
            work.stopping.wait(DOWN)
            continue
        seen = time.monotonic()
        try:
            sample, tries = work.left.get(timeout=POLL)
        except queue.Empty:
            continue
        try:
            suffix, picture = server.edit(sample, workflow, work.stopping)
        except KeyboardInterrupt:
            return
        except Refused as error:
            work.failed(sample, tries, str(error), again=not isinstance(error, Invalid))
        except (*LOST, Vanished, ValueError, KeyError) as error:
            work.failed(sample, tries, f"{server.url} was lost ({error or type(error).__name__})")
        else:
            work.succeeded(sample, suffix, picture, server.url)


def samples_in(folder: Path) -> list[Sample]:
    found = []
    for path in sorted(folder.glob("*.json")):
        picture = next((p for suffix in PICTURES if (p := path.with_suffix(suffix)).is_file()), None)
        if picture is not None:
            found.append(Sample(path.stem, picture, path.read_text(encoding="utf-8")))
    if not found:
        raise ValueError(f"{folder} holds no drag: put NAME.json beside NAME.png there")
    return found


def write(path: Path, data: bytes) -> None:
    """The whole file or none of it."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _errors(answer: bytes) -> str:
    """What a server says of a prompt that it does not take, in one line."""
    try:
        told = json.loads(answer)
        wrong = [(node["class_type"], error) for node in told["node_errors"].values() for error in node["errors"]]
        return "; ".join(f"{kind}: {error.get('details') or error['message']}" for kind, error in wrong) or told["error"]["message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.decode(errors="replace")[:300]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workflow", type=Path, required=True, help="in API format")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--server", action="append", help="http://HOST:PORT, given once for each; else http://127.0.0.1:8188")
    parser.add_argument("--retries", type=int, default=3, help="of a sample that fails or loses its server (3)")
    parser.add_argument("--patience", type=float, default=600, help="seconds that a server may be down (600)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds that one sample may take (3600)")
    parser.add_argument("--picture-node", help="id of the node that loads the picture, where there are several")
    parser.add_argument("--drag-node", help="id of the node that holds the drag, where there are several")
    told = parser.parse_args(arguments)
    try:
        workflow = Workflow.read(told.workflow, told.picture_node, told.drag_node)
        found = samples_in(told.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    servers = [Server(url, told.timeout) for url in told.server or ["http://127.0.0.1:8188"]]
    absent = [server.url for server in servers if not server.up()]
    if len(absent) == len(servers):
        print(f"no ComfyUI answers at {', '.join(absent)}; start one, or name another by --server", file=sys.stderr)
        return 2
    told.out.mkdir(parents=True, exist_ok=True)
    (told.out / "errors.json").unlink(missing_ok=True)
    ready = {path.stem for path in told.out.iterdir() if path.suffix in PICTURES}
    work = Work(told.out, [sample for sample in found if sample.name not in ready], told.retries)
    if len(work.samples) < len(found):
        print(f"{len(found) - len(work.samples)} of {len(found)} are there already", flush=True)
    threads = [threading.Thread(target=serve, args=(server, workflow, work, told.patience), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.1)
    except KeyboardInterrupt:
        work.stopping.set()
        for thread in threads:
            thread.join(10)
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    missing = len(work.samples) - work.done
    if missing:
        print(f"{missing} of {len(work.samples)} are missing; the same command tries them again", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

"""A run's results on disk: a folder for each method and sample, whole or not there at all.

    OUT/run.json                              what decides the values
    OUT/samples/METHOD/SAMPLE/edited.png      the result
                              cost.json       seconds and network passes
                              edit.json       {"seed", "error"}: written last, the edit is done
                              metrics.json    {"values": {METRIC: value}, "errors": {METRIC: sentence}}; "remarks" of metrics

Every file is written beside its place and then moved there, so that a run may be killed at any point: what is named is whole. All but
cost.json and the page that shows it is the same bit for bit however often a run was stopped. One run at a time writes to a folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .plan import DECIDING, Plan

PART = ".part"
ORDER = ("edited.png", "cost.json", "edit.json", "metrics.json")
"""In which the files of a sample are written."""


@dataclass(frozen=True)
class Row:
    """What is known of one method on one sample. values: as metrics give them.  errors: of the edit by "edit", of metrics by name.
    remarks: what metrics said beyond their values."""

    method: str
    sample: str
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    seconds: float | None = None
    nfe_forward: int = 0
    nfe_backward: int = 0
    remarks: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """The folder of a run. Raises: ValueError where it holds a run that another plan made."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is a file; give a folder")
        known = _read(folder / "run.json")
        if known is None and (folder / "samples").exists():
            raise ValueError(f"--out {folder} holds samples and no run.json; give an empty folder, or the one of a run")
        mine = plan.deciding()
        for name, option in (DECIDING if known else {}).items():
            if known.get(name) != mine[name]:
                raise ValueError(
                    f"--out {folder} holds a run with {option} {known.get(name)}, this one asks {mine[name]}: give another --out"
                )
        # Networks of metrics may be added, not exchanged.
        both = (known or {}).get("backbones", {})
        for name, path in mine["backbones"].items():
            if both.get(name, path) != path:
                option = name.replace("_", "-")
                raise ValueError(f"--out {folder} was measured with --{option} {both[name]}, this run names {path}: give another --out")
        # Variants may be added, and keep what their name stood for.
        variants = (known or {}).get("variants", {})
        for name, told in mine["variants"].items():
            if variants.get(name, told) != told:
                raise ValueError(
                    f"--out {folder} holds a variant {name} with {_in_words(variants[name])}, this one has {_in_words(told)}: give it "
                    "another name, or another --out"
                )
        self._asked = mine | {"backbones": both | mine["backbones"], "variants": dict(sorted((variants | mine["variants"]).items()))}

    def begin(self) -> None:
        """Make the folder, note the plan, and clear away what was being written when an earlier run was killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.rglob(f"*{PART}"):
            part.unlink()
        write(self.folder / "run.json", to_json(self._asked))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder against other runs; the system lets go of it when a run is killed. Raises: ValueError where one is at it."""
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another run is writing to {self.folder}; wait for it, or give another --out") from None
            yield

    def of(self, method: str, sample: str) -> Path:
        return self.folder / "samples" / method / sample

    def write(self, method: str, sample: str, files: Mapping[str, bytes]) -> None:
        folder = self.of(method, sample)
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=ORDER.index):
            write(folder / name, files[name])

    def edited(self, method: str, sample: str) -> bytes | None:
        """The result of an edit that is done and did not fail."""
        told = _read(self.of(method, sample) / "edit.json")
        return None if told is None or told["error"] else (self.of(method, sample) / "edited.png").read_bytes()

    def row(self, method: str, sample: str) -> Row | None:
        """None where the edit is still to be made."""
        return _row(self.of(method, sample))


def rows_in(folder: Path) -> list[Row]:
    """All that a run's folder holds."""
    return [row for path in sorted((folder / "samples").glob("*/*")) if (row := _row(path)) is not None]


def write(path: Path, data: bytes) -> None:
    """The whole file or none of it, also where the power goes."""
    part = path.with_name(path.name + PART)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def to_json(data: Any) -> bytes:
    return (json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n").encode()


def _in_words(variant: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} = {json.dumps(value)}" for name, value in variant["settings"].items())
    adapter = f"; adapter at {variant['adapter']:g}" if "adapter" in variant else ""
    return f"{variant['method']} ({variant['preset']}; {settings or 'nothing changed'}{adapter})"


def _row(folder: Path) -> Row | None:
    told = _read(folder / "edit.json")
    if told is None:
        return None
    cost, metrics = _read(folder / "cost.json") or {}, _read(folder / "metrics.json") or {"values": {}, "errors": {}}
    errors = ({"edit": told["error"]} if told["error"] else {}) | metrics["errors"]
    return Row(folder.parent.name, folder.name, metrics["values"], errors, remarks=metrics.get("remarks", {}), **cost)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{path} is damaged; remove its folder, and its sample is done again") from None

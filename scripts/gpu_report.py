"""Everything about this pack that only a graphics card can tell, in a few minutes, most important first.

    python scripts/gpu_report.py OUT [--minutes 8] [--parts correct,iteration] [--small] [--device cpu]

Each part runs in a process of its own under a time-out and writes its rows as it goes; after each, OUT/report.json and OUT/report.md are
written again. So the run may be cut off at any time, and what one part breaks the others don't notice. Parts that run in a ComfyUI need
COMFYUI_PATH and say so without it. --small goes through all of it on any machine in a minute: a rehearsal, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from gpu_parts import PARTS  # noqa: E402

GRACE = 5.0
"""Seconds between asking a part to end and ending it."""


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("out", type=Path, help="a folder for what is found")
    asked.add_argument("--minutes", type=float, default=8.0, help="what all parts together may take")
    asked.add_argument("--parts", default=",".join(PARTS), help="only these, separated by commas")
    asked.add_argument("--small", action="store_true", help="small models and pictures: a rehearsal")
    asked.add_argument("--device", default=None, help="cuda, cuda:N or cpu; else a card if there is one")
    asked.add_argument("--part", default=None, help=argparse.SUPPRESS)
    given = asked.parse_args()
    chosen = [name.strip() for name in given.parts.split(",") if name.strip()]
    if unknown := [name for name in [*chosen, *([given.part] if given.part else [])] if name not in PARTS]:
        asked.error(f"there is no part {unknown[0]!r}: use {', '.join(PARTS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part:
        run_here(given.part, given.out, given.small, given.device)
        return 0
    return run_all(chosen, given.out, given.minutes * 60, sys.argv[1:])


def run_here(name: str, out: Path, small: bool, device: str | None) -> None:
    """One part, in this process: its rows go to OUT/NAME.jsonl, one by one."""
    from gpu_parts.scale import Scale, machine

    where = machine(device)
    with open(out / f"{name}.jsonl", "w", encoding="utf-8") as file:
        for row in PARTS[name].load()(Scale.of(small), where):
            print(json.dumps(row), file=file, flush=True)
            print(f"{name}: {said(row)}", flush=True)


def run_all(chosen: list[str], out: Path, seconds: float, arguments: list[str]) -> int:
    """The parts one after the other. -> 1 if one of them failed or found a fault, else 0."""
    until, report = time.monotonic() + seconds, {"python": platform.python_version(), "parts": {}}
    for name in chosen:
        left = until - time.monotonic()
        if left < 2 * GRACE:
            report["parts"][name] = {"ended": "no time left", "seconds": 0.0, "rows": []}
            write(out, report)
            continue
        print(f"--- {name}: {PARTS[name].says}", flush=True)
        began = time.monotonic()
        ended = one(name, out, min(left, PARTS[name].limit), arguments)
        rows = rows_of(out / f"{name}.jsonl")
        report["parts"][name] = {"ended": ended, "seconds": round(time.monotonic() - began, 1), "rows": rows}
        write(out, report)
        print(f"--- {name}: {ended} after {time.monotonic() - began:.0f} s, {len(rows)} rows", flush=True)
    faults = [row for part in report["parts"].values() for row in part["rows"] if row.get("ok") is False]
    return int(bool(faults) or any(part["ended"] != "done" for part in report["parts"].values()))


def one(name: str, out: Path, limit: float, arguments: list[str]) -> str:
    """Run a part in a process of its own. -> how it ended."""
    (out / f"{name}.jsonl").unlink(missing_ok=True)
    with open(out / f"{name}.log", "w", encoding="utf-8") as log:
        # A session of its own, so that what it started ends with it.
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments, "--part", name], stdout=subprocess.PIPE, stderr=log, text=True,
            start_new_session=os.name == "posix",
        )  # fmt: skip
        try:
            said_there, _ = process.communicate(timeout=limit)
            print(said_there, end="", flush=True)
        except subprocess.TimeoutExpired:
            end(process)
            return f"cut off at {limit:.0f} s"
    if process.returncode == 0:
        return "done"
    last = [line for line in (out / f"{name}.log").read_text(encoding="utf-8").splitlines() if line.strip()][-1:]
    return f"failed ({process.returncode}): {last[0].strip()[:300] if last else 'without a word'}"


def end(process: subprocess.Popen) -> None:
    """The process and what it started."""
    send = (lambda number: os.killpg(process.pid, number)) if os.name == "posix" else process.send_signal
    send(signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        send(getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()


def rows_of(path: Path) -> list[dict]:
    """What a part has written; its last line may be half a one."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def write(out: Path, report: dict) -> None:
    """report.json and report.md, each whole or not at all."""
    pages = [f"# What a card told\n\nPython {report['python']}"]
    for name, part in report["parts"].items():
        pages.append(f"## {name}: {PARTS[name].says}\n\n{part['ended']}, {part['seconds']} s\n\n{table(part['rows'])}")
    for name, text in {"report.json": json.dumps(report, indent=1), "report.md": "\n\n".join(pages)}.items():
        (out / f".{name}").write_text(text + "\n", encoding="utf-8")
        (out / f".{name}").replace(out / name)


def table(rows: list[dict]) -> str:
    """Rows as Markdown, under all the names that they have."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return ""
    lines = [names, ["---"] * len(names), *([shown(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def said(row: dict) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in row.items())


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


if __name__ == "__main__":
    raise SystemExit(main())

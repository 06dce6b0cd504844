"""The instruction's form as JSON Schema (draft 2020-12), for other programs and for tests; the checks here speak in sentences instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def instruction_schema() -> dict[str, Any]:
    """The schema of docs/instruction.md's JSON, versions 1 and 2. Its description says what no schema can."""
    return json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))

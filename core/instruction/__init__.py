"""What the user says: `DragInstruction`, its versioned JSON, every error that can be made in it, and the plain `Drag` in pixels."""

from .drag_instruction import DragInstruction
from .drawn import DrawnPoints, DrawnRegion
from .guarded_json import InstructionError
from .schema import MAX_OPERATIONS, instruction_schema

__all__ = ["MAX_OPERATIONS", "DragInstruction", "DrawnPoints", "DrawnRegion", "InstructionError", "instruction_schema"]

"""Which place of the source ends up where: `DragField`, what it is made of, and what reads or writes by it."""

from .drag_field import DragField, FieldSettings, Layout

__all__ = ["DragField", "FieldSettings", "Layout"]

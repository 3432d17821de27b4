"""From outlines to masks."""

"""From everything to a page: figures, overlays, tables."""

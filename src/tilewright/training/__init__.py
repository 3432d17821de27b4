"""From tiles to trained models."""

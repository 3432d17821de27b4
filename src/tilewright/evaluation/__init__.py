"""Metrics: how well an ensemble does, per slide, per object and per source."""

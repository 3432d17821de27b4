"""From objects and outlines to scores: per slide, per object and per source."""

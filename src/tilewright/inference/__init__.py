"""From trained models to calibrated probabilities."""

"""Bundles: trained ensembles that can be given away."""

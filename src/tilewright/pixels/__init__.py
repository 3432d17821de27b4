"""What several stages stand on: geometry, rasters, runs, strips, components.

Nothing here knows slides or networks.
"""

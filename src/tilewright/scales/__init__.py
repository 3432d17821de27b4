"""From slides and masks to lower resolutions."""

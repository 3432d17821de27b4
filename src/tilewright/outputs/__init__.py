"""What leaves tilewright: submissions and GeoJSON."""

"""The report: figures, overlays and the page that shows them."""

"""From scaled slides to tiles and folds."""

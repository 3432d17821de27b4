"""From probabilities to objects, and to the files in which they leave."""

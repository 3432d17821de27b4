"""The config that tests of ``check`` start from."""


def config_of(*classes):
    """A config of one model, with classes as lines of YAML."""
    lines = "".join(f"  {each}\n" for each in classes)
    return f"""
sheet: slides.csv
classes:
{lines}scales:
  full: {{factor: 1}}
tiles:
  all: {{scale: full}}
folds: {{count: 2}}
models:
  unet: {{tiles: all}}
ensembles:
  both: {{models: {{unet: 1}}}}
"""

"""What every step needs and no result depends on: errors, atomic files, progress, devices.

Nothing here counts as code of a step (see ``codeversion.code_version``), so no module in this package may change what a
step computes.
"""

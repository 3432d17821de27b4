"""What is wrong with a run before it starts.

Imports every stage; nothing imports this package.
"""

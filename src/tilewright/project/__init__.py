"""What a user wrote, checked: the config, the slide sheet, and what of them reaches each step.

No result depends on this code.
"""

"""A study: one YAML file that expands to runs, carries them out wherever there is room, and keeps their small results."""

"""A run on disk: settings, options and presets, generations, warm starts, reports."""

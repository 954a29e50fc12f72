"""The model card, one function per section."""

"""Own classes: a few clips of each are enough to add them to the small installed model, or to replace its classes."""

"""Augmentation of training clips, and data sets made from them: soundscapes, negatives, label noise."""

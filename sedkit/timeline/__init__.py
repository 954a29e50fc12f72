"""From segment scores to what users see: tags, a grid of cells, and events.

``views``        collect the scores of one recording and make its result; ``TagsView``
``timelines``    the view that makes a timeline, and timelines that grow while a recording plays
``grid``         one score per class and cell, by default per second
``events``       onset, offset and score of each event, found by hysteresis
``edges``        level changes in the audio, which refine onsets and offsets
``calibration``  tag scores → probabilities
"""

"""How good results are: against a reference, against other results, and with other settings.

``vocabulary``   classes of several sources, matched by MID or by name
``pairing``      which recording of one list is which of another
``trial``        recordings with a reference, and a system's results for them
``analysis``     segment scores of recordings, in which events are found with any settings
``models``       a model as a system to judge
``psds_and_f1``  PSDS and F1 of events, by sed_eval and sed_scores_eval
``bootstrap``    confidence intervals, by resampling recordings
``figures``      all figures of tags and events, with their intervals
``report``       these figures as JSON, text and plot
``changes``      what differs between two results
``tuning``       the search for the settings that serve labelled recordings best
"""

"""How good results are: against a reference, against other results, and with other settings.

``pairing``      which recording of one list is which of another
``psds_and_f1``  PSDS and F1 of events, by sed_eval and sed_scores_eval
``bootstrap``    confidence intervals, by resampling recordings
"""

"""Audio input: any format, sample rate and length as blocks of float32 mono samples at 16 kHz.

``reading``   :func:`open_audio`, the entry point: checks, downmixes and resamples; ``probe`` reads headers only
``decoding``  the decoders behind it: libsndfile and FFmpeg
``live``      audio in real time, from a microphone or a pipe
``prefetch``  a recording opened in another thread while the model loads
"""

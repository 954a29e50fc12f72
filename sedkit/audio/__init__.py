"""Audio input: any format, sample rate and length as blocks of float32 mono samples at 16 kHz.

``reading``    :func:`open_audio`, the entry point: decodes, mixes, checks and resamples
``probing``    reads headers only
``opening``    chooses the decoder: ``libsndfile`` or ``ffmpeg``
``wav``        WAV files whose header is wrong about the audio
``sniffing``   headers of other formats
``channels``   from channels to mono
``live``       audio in real time, from a microphone or a pipe
``prefetch``   a recording opened in another thread while the model loads
"""

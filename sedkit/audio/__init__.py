"""Audio input: any format, sample rate and length as blocks of float32 mono samples at 16 kHz.

``reading``    :func:`open_audio`, the entry point: decodes, mixes, checks and resamples
``probing``    reads headers only
``opening``    chooses the decoder: ``libsndfile`` or ``ffmpeg``
``wav``        WAV files whose header is wrong about the audio
``sniffing``   headers of other formats
``channels``   from channels to mono
``live``       audio in real time; its sources are ``pipe`` and ``microphone``
``prefetch``   a recording with its options for reading
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sedkit.audio.probing import probe as probe
    from sedkit.audio.reading import open_audio as open_audio

_HOMES = {"open_audio": "sedkit.audio.reading", "probe": "sedkit.audio.probing"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a function when it is first used (PEP 562): sedkit.audio.prefetch must not import NumPy."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Sound event detection: which sounds a recording contains, and when they occur.

>>> from sedkit import Tagger
>>> tagger = Tagger()
>>> tagger.tag("street.wav").tags[0]
Tag(label='Siren', mid='/m/03kmc9', score=0.87)
>>> tagger.timeline("street.wav").events[0]
Event(onset=3.2, offset=5.44, label='Siren', mid='/m/03kmc9', score=0.93)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sedkit.errors import AnnotationError as AnnotationError
    from sedkit.errors import ArgumentError as ArgumentError
    from sedkit.errors import AudioError as AudioError
    from sedkit.errors import AudioWarning as AudioWarning
    from sedkit.errors import ContractError as ContractError
    from sedkit.errors import DeviceError as DeviceError
    from sedkit.errors import LostSourceError as LostSourceError
    from sedkit.errors import ModelError as ModelError
    from sedkit.errors import OutputError as OutputError
    from sedkit.errors import SedkitError as SedkitError
    from sedkit.results import Embedding as Embedding
    from sedkit.results import Event as Event
    from sedkit.results import Onset as Onset
    from sedkit.results import Second as Second
    from sedkit.results import Tag as Tag
    from sedkit.results import Tagging as Tagging
    from sedkit.results import Timeline as Timeline
    from sedkit.tagger import Tagger as Tagger
    from sedkit.timeline.settings import PostProcessing as PostProcessing

    __version__: str

_PUBLIC = {  # module: the public names in it
    "sedkit.errors": (
        "AnnotationError",
        "ArgumentError",
        "AudioError",
        "AudioWarning",
        "ContractError",
        "DeviceError",
        "LostSourceError",
        "ModelError",
        "OutputError",
        "SedkitError",
    ),
    "sedkit.results": ("Embedding", "Event", "Onset", "Second", "Tag", "Tagging", "Timeline"),
    "sedkit.tagger": ("Tagger",),
    "sedkit.timeline.settings": ("PostProcessing",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name on first access (PEP 562), which keeps ``import sedkit`` cheap."""
    if name == "__version__":
        from sedkit.install import version

        return version()
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'sedkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

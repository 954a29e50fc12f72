"""Post-processing settings: how segment scores become events. docs/timeline.md explains each step.

:class:`PostProcessing` holds one value per setting and, where classes differ, values per class. It reads and writes
TOML::

    threshold = 0.3
    min_duration = 0.2

    [classes.Dog]
    threshold = 0.5
    merge_gap = 1.0

:class:`ColumnSettings` holds the same settings as vectors, one entry per column of the scores. Detectors take these, so
columns can be repeated to try many settings in one pass.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.geometry import WELS_NET, Geometry

Method: TypeAlias = Literal["hysteresis", "change-points"]
METHODS: tuple[Method, ...] = ("hysteresis", "change-points")
TOLERANCE = 1e-6  # seconds
LARGEST = sys.float_info.max  # integers may be larger
LEAST = 1e-30  # threshold beside `max_classes`, in place of 0: the classes that are cut score 0


@dataclass(frozen=True, kw_only=True)
class PostProcessing:
    """How segment scores become events. Every step is optional; times are in seconds.

    Attributes
    ----------
    threshold : segment score, 0 to 1, at which a class counts as present; None for the model's, which differ by class.
    leave : share of the threshold, 0 to 1, below which an event ends (hysteresis).
    hold : longest time for which an event goes on before and after scores that reach the threshold.
    median : length of a median filter over the segment scores; 0 for none.
    min_duration : shorter events are left out.
    merge_gap : events of a class that are no further apart are one event.
    max_duration : longer events are divided into equal parts.
    max_classes : largest number of classes per segment, those with the highest scores; None for all.
    method : ``"hysteresis"``, or ``"change-points"`` for event boxes between changes of the score.
    step : change points: length of the filter that finds changes, on either side of them.
    merge_drop : change points: boxes are one if the score between them is at most this much lower.
    merge_share : change points: boxes are one if the score between them is at least this share of theirs.
    classes : values for single classes, by name or MID: ``{"Dog": {"threshold": 0.5}}``. Possible are the settings from
        ``threshold`` to ``max_duration``.

    Raises
    ------
    ArgumentError
        If a value is out of range.

    Examples
    --------
    >>> settings = PostProcessing(threshold=0.3).for_class("Dog", threshold=0.5)
    >>> print(settings.to_toml())
    threshold = 0.3
    <BLANKLINE>
    [classes."Dog"]
    threshold = 0.5
    <BLANKLINE>
    >>> settings == PostProcessing.from_mapping(settings.to_mapping())
    True
    """

    threshold: float | None = None
    leave: float = 0.05
    hold: float = 2.88
    median: float = 0.0
    min_duration: float = 0.0
    merge_gap: float = 0.0
    max_duration: float = math.inf
    max_classes: int | None = None
    method: Method = "hysteresis"
    step: float = 0.64
    merge_drop: float = 0.15
    merge_share: float = 0.3
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name != "classes":
                _check(each.name, getattr(self, each.name), each.name)
        for name, values in self.classes.items():
            where = f"classes.{name}"
            if not isinstance(values, Mapping):
                raise ArgumentError(f"{where} must be a table of settings, not {values!r}")
            for key, value in values.items():
                if key not in PER_CLASS:
                    raise ArgumentError(f"{where}: {key} cannot be set per class; these can: {', '.join(PER_CLASS)}")
                _check(key, value, f"{where}.{key}")
            own = {key: values.get(key, getattr(self, key)) for key in ("min_duration", "max_duration")}
            _check_durations(own["min_duration"], own["max_duration"], where + ": ")
        _check_durations(self.min_duration, self.max_duration, "")

    def replace(self, **values: Any) -> Self:
        """These settings with some values replaced."""
        unknown = [name for name in values if name not in NAMES]
        if unknown:
            raise ArgumentError(f"{unknown[0]}: no such setting; the settings are {', '.join(NAMES)}")
        return replace(self, **values)

    def for_class(self, name: str, **values: float) -> Self:
        """These settings with other values for one class, by name or MID; they count more than those before."""
        others = {other: own for other, own in self.classes.items() if other != name}
        return self.replace(classes={**others, name: {**self.classes.get(name, {}), **values}})

    def for_all(self, **values: Any) -> Self:
        """These settings with other values for all classes, also for those that have values of their own."""
        return self.replace(**values, classes=self._classes_without(values))

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Self:
        """These settings with other thresholds by class; ``"*"`` stands for all classes that are not named."""
        settings = self.for_all(threshold=thresholds["*"]) if "*" in thresholds else self
        for name, value in thresholds.items():
            if name != "*":
                settings = settings.for_class(name, threshold=value)
        return settings

    def _classes_without(self, names: Container[str]) -> dict[str, dict[str, float]]:
        """The values for single classes, without those of some settings."""
        left = {name: {k: v for k, v in own.items() if k not in names} for name, own in self.classes.items()}
        return {name: own for name, own in left.items() if own}

    def to_mapping(self) -> dict[str, Any]:
        """The settings that differ from the defaults."""
        default = type(self)()
        values = {name: getattr(self, name) for name in NAMES if getattr(self, name) != getattr(default, name)}
        if self.classes:
            values["classes"] = {name: dict(own) for name, own in self.classes.items()}
        return values

    def to_toml(self) -> str:
        """The settings that differ from the defaults, as TOML."""
        tables = dict(self.to_mapping())
        classes = tables.pop("classes", {})
        lines = [f"{name} = {_toml(value)}" for name, value in tables.items()]
        for name, own in classes.items():
            lines += ["", f"[classes.{json.dumps(name, ensure_ascii=False)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in own.items()]
        return "".join(line + "\n" for line in lines)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], base: PostProcessing | None = None) -> PostProcessing:
        """Settings from a mapping; what it leaves out is that of ``base``, by default the default.

        A value for all classes replaces those of single classes in ``base``, too.

        Raises
        ------
        ArgumentError
            If a setting does not exist or its value is out of range.
        """
        settings = base or cls()
        classes = values.get("classes", {})
        if not isinstance(classes, Mapping):
            raise ArgumentError(f"classes must be a table of classes, not {classes!r}")
        kept = settings._classes_without(values)
        merged = {
            name: {**kept.get(name, {}), **own} if isinstance(own, Mapping) else own
            for name, own in {**kept, **classes}.items()
        }
        return settings.replace(**{**values, "classes": merged})

    @classmethod
    def read_toml(cls, path: str | os.PathLike[str], base: PostProcessing | None = None) -> PostProcessing:
        """Settings from a TOML file; what it leaves out is that of ``base``, by default the default.

        Raises
        ------
        ArgumentError
            If the file cannot be read or holds an invalid setting; names the file.
        """
        import tomllib

        try:
            return cls.from_mapping(tomllib.loads(Path(path).read_text("utf-8")), base)
        except OSError as error:
            raise ArgumentError(f"{path}: cannot be read: {error.strerror}; check the path") from None
        except UnicodeDecodeError:
            raise ArgumentError(f"{path}: not UTF-8 text; save it as UTF-8") from None
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from None
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep nesting
            raise ArgumentError(f"{path}: not valid TOML: {error}; see docs/timeline.md") from None

    def columns(
        self,
        labels: Sequence[Label],
        thresholds: Sequence[float] | NDArray[np.float64],
        geometry: Geometry = WELS_NET,
    ) -> ColumnSettings:
        """The settings of each class. Of several values for one class, by its name and its MID, the last one counts.

        Parameters
        ----------
        labels : the classes; settings of other classes are ignored.
        thresholds : their thresholds in the model, for classes that have none in these settings.
        geometry : of the model.
        """
        named: dict[str, dict[int, Mapping[str, float]]] = {}  # by name or MID, then by the place in the settings
        for place, (name, values) in enumerate(self.classes.items()):
            named.setdefault(name.casefold(), {})[place] = values
        rows = []
        for label, threshold in zip(labels, thresholds, strict=True):
            found = {**named.get((label.mid or "").casefold(), {}), **named.get(label.name.casefold(), {})}
            own = {key: value for place in sorted(found) for key, value in found[place].items()}
            row = {name: own.get(name, getattr(self, name)) for name in PER_CLASS}
            rows.append([threshold if row[name] is None else row[name] for name in PER_CLASS])
        by_name = dict(zip(PER_CLASS, np.array(rows, np.float64).reshape(-1, len(PER_CLASS)).T, strict=True))
        if self.max_classes is not None:
            by_name["threshold"] = np.maximum(by_name["threshold"], LEAST)
        return ColumnSettings(**by_name, shared=self.replace(classes={}), geometry=geometry, below=())


@dataclass(frozen=True)
class ColumnSettings:
    """Post-processing settings per column of the scores, and the geometry of the segments that they apply to.

    Fields as in :class:`PostProcessing`, each [columns]; ``below`` as in :class:`sedkit.selection.Selection`.
    """

    threshold: NDArray[np.float64]
    leave: NDArray[np.float64]
    hold: NDArray[np.float64]
    median: NDArray[np.float64]
    min_duration: NDArray[np.float64]
    merge_gap: NDArray[np.float64]
    max_duration: NDArray[np.float64]
    shared: PostProcessing = field(default_factory=PostProcessing)
    geometry: Geometry = WELS_NET
    below: Sequence[Sequence[int]] = ()

    @classmethod
    def uniform(cls, threshold: Iterable[float], **values: Any) -> ColumnSettings:
        """Settings with these thresholds, one per column, and one value for all columns in everything else."""
        thresholds = [float(value) for value in threshold]
        return PostProcessing(**values).columns([Label("") for _ in thresholds], thresholds)

    @property
    def end_threshold(self) -> NDArray[np.float64]:
        """Score below which an event ends, [columns]."""
        return self.leave * self.threshold

    @property
    def hold_segments(self) -> NDArray[np.float64]:
        """``hold`` in whole segments, or infinity."""
        return np.floor(self.hold / self.geometry.step + TOLERANCE)

    @property
    def median_segments(self) -> NDArray[np.int64]:
        """Length of the median filter in segments: the odd number next to ``median``, at least 1."""
        return 2 * np.rint((self.median / self.geometry.step - 1) / 2).astype(np.int64).clip(0) + 1


NAMES = tuple(each.name for each in fields(PostProcessing))
PER_CLASS = NAMES[: NAMES.index("max_duration") + 1]
LIMITS = {  # smallest and largest value
    "threshold": (0.0, 1.0),
    "leave": (0.0, 1.0),
    "hold": (0.0, math.inf),
    "median": (0.0, 60.0),
    "min_duration": (0.0, 3600.0),
    "merge_gap": (0.0, 3600.0),
    "max_duration": (0.1, math.inf),
    "max_classes": (1, math.inf),
    "step": (WELS_NET.step, 60.0),
    "merge_drop": (0.0, 1.0),
    "merge_share": (0.0, 1.0),
}


def _check(name: str, value: Any, where: str) -> None:
    if name == "method":
        if value not in METHODS:
            raise ArgumentError(f"{where} must be {' or '.join(METHODS)}, not {value!r}")
        return
    if value is None and name in ("threshold", "max_classes"):
        return
    lowest, highest = LIMITS[name]
    kind = int if name == "max_classes" else int | float | np.number
    possible = isinstance(value, kind) and not isinstance(value, bool) and lowest <= value <= highest
    if not possible or LARGEST < float(value) < math.inf:
        limits = f"between {lowest:g} and {highest:g}" if highest < math.inf else f"at least {lowest:g}"
        raise ArgumentError(f"{where} must be {limits}, not {value!r}")


def _check_durations(shortest: float, longest: float, where: str) -> None:
    if 2 * shortest > longest:
        raise ArgumentError(
            f"{where}max_duration ({longest:g}) must be at least twice min_duration ({shortest:g}): longer events are "
            "divided"
        )


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else "inf" if value == math.inf else repr(value)

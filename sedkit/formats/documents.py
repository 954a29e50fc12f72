"""JSON documents of other programs: JAMS and the pre-annotations of Label Studio.

JAMS is written without the library jams, whose import takes 3.4 s; the tests read the files with it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar, cast

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.formats.writers import Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

JAMS_VERSION = "0.3.4"  # of the schema; readers take any later library for it
LOCAL_FILES = "/data/local-files/?d="  # where Label Studio serves files of its own machine
CONTROL, AUDIO = "label", "audio"  # names in the labelling interface of Label Studio


class DocumentWriter(Writer):
    """Base class: a JSON text in which bytes of names that are not UTF-8 are escaped, as in JSON Lines."""

    errors: ClassVar[str] = "backslashreplace"

    def dump(self, content: Any) -> None:
        self.stream.write(json.dumps(content, ensure_ascii=False, allow_nan=False))


class JamsWriter(DocumentWriter):
    """A JAMS file (https://jams.readthedocs.io): events as ``segment_open``, tags as ``tag_open``.

    The title is the recording; the number of a channel is among its identifiers.
    """

    suffixes = (".jams",)
    single: ClassVar[tuple[Kind, ...]] = ("tags", "events")

    def write(self, result: Tagging | Timeline) -> None:
        duration = round(result.duration, 3)
        if self.run.kind == "tags":
            namespace = "tag_open"
            data = [_observation(0.0, duration, tag) for tag in cast("Tagging", result).tags]
        else:
            namespace = "segment_open"
            data = [
                _observation(round(event.onset, 3), round(event.offset - event.onset, 3), event)
                for event in cast("Timeline", result).events
            ]
        annotation = {
            "namespace": namespace,
            "data": data,
            "annotation_metadata": {
                "curator": {"name": "", "email": ""},
                "annotator": {"model": self.run.model},
                "version": "",
                "corpus": "",
                "annotation_tools": f"sedkit {self.run.version}",
                "annotation_rules": "",
                "validation": "",
                "data_source": "program" if self.run.model else "",
            },
            "sandbox": {},
            "time": 0.0,
            "duration": duration,
        }
        channel = channel_of(result.file)
        about = {
            "title": path_of(result.file),
            "artist": "",
            "release": "",
            "duration": duration,
            "identifiers": {} if channel is None else {"channel": channel},
        }
        self.dump(
            {
                "annotations": [annotation],
                "file_metadata": {**about, "jams_version": JAMS_VERSION},
                "sandbox": {},
            }
        )
        self.stream.write("\n")


def _observation(time: float, duration: float, found: Any) -> dict[str, Any]:
    return {"time": time, "duration": duration, "value": found.label, "confidence": round(found.score, 4)}


class LabelStudioWriter(DocumentWriter):
    """Tasks with pre-annotations for Label Studio's import: a list with one task for each recording."""

    suffixes = (".label-studio.json",)

    def begin(self) -> None:
        self.tasks = 0
        self.stream.write("[")

    def write(self, result: Tagging | Timeline) -> None:
        from urllib.parse import quote

        self.stream.write(",\n" if self.tasks else "\n")
        self.tasks += 1
        regions = self.choices(cast("Tagging", result)) if self.run.kind == "tags" else self.regions(result)
        prediction: dict[str, Any] = {"model_version": self.run.model or "sedkit", "result": regions}
        if scores := [region["score"] for region in regions if "score" in region]:
            prediction["score"] = max(scores)
        path = os.path.abspath(path_of(result.file)) if result.file != "-" else result.file
        address = LOCAL_FILES + quote(os.fsencode(path.lstrip(os.sep)))
        self.dump({"data": {AUDIO: address, "file": result.file}, "predictions": [prediction]})

    def regions(self, result: Tagging | Timeline) -> list[dict[str, Any]]:
        """One region for each event."""
        return [
            {
                "id": f"event{number}",
                "from_name": CONTROL,
                "to_name": AUDIO,
                "type": "labels",
                "original_length": round(result.duration, 3),
                "score": round(event.score, 4),
                "value": {
                    "start": round(event.onset, 3),
                    "end": round(event.offset, 3),
                    "channel": (channel_of(result.file) or 1) - 1,
                    "labels": [event.label],
                },
            }
            for number, event in enumerate(cast("Timeline", result).events, 1)
        ]

    def choices(self, result: Tagging) -> list[dict[str, Any]]:
        """One choice of several classes."""
        if not result.tags:
            return []
        return [
            {
                "id": "tags",
                "from_name": CONTROL,
                "to_name": AUDIO,
                "type": "choices",
                "score": round(max(tag.score for tag in result.tags), 4),
                "value": {"choices": [tag.label for tag in result.tags]},
            }
        ]

    def finish(self) -> None:
        self.stream.write("\n]\n")

"""``sedkit-train evaluate timelines``: tags and events of models in soundscapes, measured against strong labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.audio.reading import open_audio
from sedkit.contract import Label
from sedkit.geometry import SAMPLE_RATE
from sedkit.judging.analysis import AnalysisView, detections_at_levels, events_of
from sedkit.judging.psds_and_f1 import Detections, EvaluationError, Spans, f1_scores, spans, timeline_metrics
from sedkit.metrics import summary
from sedkit.tagger import Tagger
from sedkit.timeline.settings import PostProcessing
from training.data.manifest.strong_labels import read_events
from training.data.manifest.table import SPLITS, Manifest
from training.evaluate.metrics.event_decoding import DEFAULT, event_scores
from training.evaluate.tables.crossval_scores import UNTRAINED, progress
from training.evaluate.tables.markdown import table, three
from training.networks.yamnet_tflite import YamnetTflite, match_classes, parse_peer
from training.runtime.files import sha256, write_json

COLUMNS = {  # key in the JSON report: head of the table's column
    "mAP": "mAP",
    "mAUC": "mAUC",
    "tag_f1": "tag F1",
    "segment_f1": "segment F1",
    "event_f1": "event F1",
    "best_segment_f1": "best segment F1",
    "best_event_f1": "best event F1",
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
    "PSDS1_mean": "PSDS1 mean",
    "PSDS2_mean": "PSDS2 mean",
}
PEER_THRESHOLD = 0.5  # of YAMNet, which ships no thresholds


@dataclass(frozen=True)
class Soundscapes:
    """The recordings of one split.

    Attributes
    ----------
    labels : classes of the manifest.
    paths : files.
    targets : [recordings, classes], 0 or 1, NaN where nobody checked: weak labels.
    truth : events of every recording: strong labels.
    """

    labels: tuple[Label, ...]
    paths: list[Path]
    targets: NDArray[np.float32]
    truth: list[Spans]


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.argument("folder", metavar="SOUNDSCAPES", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--peer", metavar="yamnet=FILE", callback=parse_peer, help="Compare with YAMNet (TFLite file).")
@click.option(
    "--postprocess",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Evaluate every model with the settings of this TOML file too (docs/timeline.md); repeatable.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write this JSON file.")
def command(
    models: tuple[str, ...],
    folder: Path,
    split: str,
    peer: Path | None,
    files: tuple[Path, ...],
    json_file: Path | None,
) -> None:
    """Measure the tags and events of MODELs in SOUNDSCAPES against strong labels.

    SOUNDSCAPES is a folder of `sedkit-train data soundscapes`. A MODEL is a file or the name of an installed model. It
    runs as in sedkit, with sedkit's event decoding.

    \b
    mAP, mAUC, tag F1   tags of whole recordings
    segment F1          seconds
    event F1            events: onset within 200 ms, offset within 200 ms or half the event
    PSDS1, PSDS2        DCASE task 4, over all thresholds

    F1 is measured at the model's own thresholds and at the best ones for these recordings. Events of YAMNet are the
    frames at or above 0.5.

    `sedkit-train publish RUN` puts the results on the model's card if they are in RUN/timelines.json.

    \b
    Examples:
      sedkit-train data soundscapes esc50.csv --split test --count 400 --output soundscapes
      sedkit-train evaluate timelines runs/first/model.onnx soundscapes --json runs/first/timelines.json
      sedkit-train evaluate timelines wels-secost model-int8.onnx soundscapes --peer yamnet=yamnet.tflite
      sedkit-train evaluate timelines wels-secost field --postprocess mine.toml
    """
    soundscapes, recipe = read_soundscapes(folder, split), read_recipe(folder)
    taggers = {model: Tagger(model, device="cpu") for model in models}
    systems: dict[str, Callable[[Path], Detections]] = {}
    hashes: dict[str, str] = {}
    for model, tagger in taggers.items():
        for name, file in ((model, None), *((f"{model}, {name}", file) for name, file in names_of(files).items())):
            settings = tagger.post_processing(file)
            tagger.check_names(settings.classes)
            systems[name] = sedkit_detector(tagger, soundscapes.labels, settings)
            hashes[name] = sha256(tagger.model.path)
    if peer:
        systems[UNTRAINED] = yamnet_detector(peer, soundscapes.labels)
    rows: list[dict[str, Any]] = []
    with progress("scoring", len(systems) * len(soundscapes.paths)) as step:
        for name, detect in systems.items():
            detections = []
            for path in soundscapes.paths:
                detections.append(detect(path))
                step(1)
            metrics = system_metrics(detections, soundscapes)
            rows.append({"system": name, "model_sha256": hashes.get(name), **metrics})
    report = {
        "soundscapes": folder.resolve().name,
        "recipe": recipe,
        "split": split,
        "recordings": len(soundscapes.paths),
        "events": sum(map(len, soundscapes.truth)),
        "seconds": sum(detected.duration for detected in detections),
        "classes": int((soundscapes.targets == 1).any(0).sum()),
        "systems": rows,
    }
    click.echo(document(report), nl=False)
    if json_file:
        write_json(json_file, report)


def names_of(files: Iterable[Path]) -> dict[str, Path]:
    """Each of ``files`` once, by its name; by its path if another has the same name."""
    distinct = dict.fromkeys(files)
    count = Counter(file.name for file in distinct)
    return {file.name if count[file.name] == 1 else str(file): file for file in distinct}


def read_soundscapes(folder: Path, split: str) -> Soundscapes:
    """The recordings of one split of a soundscape set (``training.data.augment.soundscape_set``).

    Raises
    ------
    ManifestError, EvaluationError
        If the set cannot be read, or the split is empty.
    """
    manifest = Manifest.load(folder / "manifest.csv").select(split)
    if not len(manifest):
        raise EvaluationError(f"{folder}: no recording in the split {split!r}: choose another --split")
    events, _ = read_events(folder / f"{split}.tsv")
    truth: dict[str, Spans] = {Path(path).name: [] for path in manifest.paths}
    for event in events:
        column = manifest.vocabulary.find(event.label)
        if event.clip not in truth or (event.label and column is None):
            raise EvaluationError(
                f"{folder / split}.tsv: {event.clip}, {event.label!r}: not in manifest.csv: make the soundscapes again"
            )
        if column is not None:
            truth[event.clip].append((event.onset, event.offset, column))
    return Soundscapes(
        manifest.vocabulary.labels, [Path(path) for path in manifest.paths], manifest.targets(), list(truth.values())
    )


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """``recipe.json`` of a soundscape set; None if it has none, as sets from other tools.

    Raises
    ------
    EvaluationError
        If the file cannot be read.
    """
    path = folder / "recipe.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}): make the soundscapes again") from None


def sedkit_detector(
    tagger: Tagger, labels: Sequence[Label], processing: PostProcessing = DEFAULT
) -> Callable[[Path], Detections]:
    """A function from a recording to a sedkit model's detections, made by sedkit's own tagging and event decoding.

    ``processing`` : how scores become events.

    Raises
    ------
    EvaluationError
        If the model lacks one of ``labels``.
    """
    known = {label.mid or label.name: column for column, label in enumerate(tagger.labels)}
    keys = [label.mid or label.name for label in labels]
    if unknown := [label.name for key, label in zip(keys, labels, strict=True) if key not in known]:
        names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise EvaluationError(
            f"{tagger.model.path}: lacks {len(unknown)} of the classes of the soundscapes ({names}): mix clips "
            "of its own classes"
        )
    columns = [known[key] for key in keys]
    class_names = [tagger.labels[column].name for column in columns]
    make_tags = tagger.tags_view(top_k=None, threshold=0.0, parents=True)
    thresholds = np.array(tagger.contract.thresholds)[columns]
    settings = processing.columns(labels, np.array(tagger.contract.timeline_thresholds)[columns])
    simple = processing.replace(leave=DEFAULT.leave, hold=DEFAULT.hold) == DEFAULT

    def detect(path: Path) -> Detections:
        view = AnalysisView(columns, make_tags(), class_names)
        with open_audio(path) as stream:
            for samples, kept, segments in tagger.model.scored_pieces(stream):
                view.add(samples, kept, segments)
        analysed = view.finish(str(path), stream.duration)
        present = analysed.tags >= thresholds
        if not simple:
            return detections_at_levels(analysed, settings, present)
        scores = event_scores(
            analysed.scores, analysed.changes, analysed.duration, processing.leave, processing.hold
        )  # as detections_at_levels, and much faster
        return Detections(*scores, events_of(analysed, settings), analysed.tags.astype(np.float32), present)

    return detect


def yamnet_detector(model: Path, labels: Sequence[Label]) -> Callable[[Path], Detections]:
    """A function from a recording to YAMNet's detections. Classes are matched by name; events are at threshold 0.5.

    A frame's score applies to the 0.48 s around its centre. Tags are means over frames.
    """
    peer = YamnetTflite(model)

    def detect(path: Path) -> Detections:
        with open_audio(path) as stream:
            waveform = np.concatenate([*stream, np.zeros(0, np.float32)])
        scores = match_classes(peer(waveform).scores, peer.labels, labels)
        edges = peer.hop * np.arange(len(scores) + 1.0) + (peer.window - peer.hop) / 2
        edges[0], edges[-1] = 0, len(waveform) / SAMPLE_RATE
        tags = scores.mean(0)
        return Detections(edges, scores, spans(edges, scores, PEER_THRESHOLD), tags, tags >= PEER_THRESHOLD)

    return detect


def system_metrics(detections: Sequence[Detections], soundscapes: Soundscapes) -> dict[str, Any]:
    """Metrics of a system's tags and events, under the keys of ``COLUMNS``."""
    tags = summary(soundscapes.targets, np.stack([detected.tags for detected in detections]), soundscapes.labels)
    _, tag_f1 = f1_scores(np.stack([detected.present for detected in detections]), soundscapes.targets)
    timing = timeline_metrics(detections, soundscapes.truth)
    return {"mAP": tags.mean_ap, "mAUC": tags.mean_auc, "tag_f1": tag_f1, **timing}


def document(report: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    rows = [[row["system"], *(three(row[key]) for key in COLUMNS)] for row in report["systems"]]
    return (
        f"## Timelines of {report['soundscapes']}\n\n"
        f"- {report['recordings']} recordings of the split {report['split']}, {report['seconds'] / 60:.0f} min, "
        f"{report['events']} events of {report['classes']} classes\n"
        "- F1 is the mean over classes; best F1 uses the best threshold per class for these recordings\n"
        "- PSDS mean is PSDS without its penalty for differences between classes\n\n"
        + table(["system", *COLUMNS.values()], rows)
    )

"""``sedkit-train evaluate timelines``: what models hear in soundscapes and when, against the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.audio.reading import open_audio
from sedkit.contract import Label
from sedkit.geometry import SAMPLE_RATE
from sedkit.metrics import summary
from sedkit.tagger import Tagger
from sedkit.timeline.edges import tile_edges
from training.data.manifest.table import SPLITS, Manifest
from training.data.readers.events import read_events
from training.evaluate.metrics.event_decoding import event_scores
from training.evaluate.metrics.psds_and_f1 import EvaluationError, Heard, Spans, quality, spans
from training.evaluate.metrics.reliability import f1_scores
from training.evaluate.tables.crossval_scores import progress
from training.evaluate.tables.markdown import table, three
from training.networks.yamnet_tflite import YamnetTflite, match_classes, parse_peer
from training.runtime.files import sha256, write_json

COLUMNS = {  # of the table
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
PEER_THRESHOLD = 0.5


@dataclass(frozen=True)
class Soundscapes:
    """Recordings of one split: their files, weak labels [clips, classes] and strong ones."""

    labels: tuple[Label, ...]
    paths: list[Path]
    targets: NDArray[np.float32]
    truth: list[Spans]


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.argument("folder", metavar="SOUNDSCAPES", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--peer", metavar="yamnet=FILE", callback=parse_peer, help="YAMNet (TFLite), on the same recordings.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="File to write as well.")
def command(models: tuple[str, ...], folder: Path, split: str, peer: Path | None, json_file: Path | None) -> None:
    """Tags and times that MODELs give to SOUNDSCAPES (training.data soundscapes), against their labels.

    A MODEL is a file or the name of an installed one, run as sedkit runs it. mAP, mAUC and the first F1 are of the tags
    of whole recordings, the other figures of the events that sedkit makes of segments: F1 of seconds and of events
    (onset within 200 ms, offset within 200 ms or half the event), at the model's own thresholds and at those best on
    these recordings, and PSDS1 and PSDS2 of DCASE task 4, over all thresholds. An event of YAMNet's is what reaches
    the threshold.

    With --json beside the run, training.release.publish puts them on the model's card.

    \b
    Examples:
      sedkit-train data soundscapes esc50.csv --split test --count 400 --output soundscapes
      sedkit-train evaluate timelines runs/first/model.onnx soundscapes --json runs/first/timelines.json
      sedkit-train evaluate timelines wels-secost model-int8.onnx soundscapes --peer yamnet=yamnet.tflite
    """
    held, recipe = read_soundscapes(folder, split), read_recipe(folder)
    taggers = {model: Tagger(model, device="cpu") for model in models}
    systems: dict[str, Callable[[Path], Heard]] = {
        model: sedkit_model(tagger, held.labels) for model, tagger in taggers.items()
    }
    hashes = {model: sha256(tagger.model.path) for model, tagger in taggers.items()}
    if peer:
        systems["YAMNet, as it is"] = yamnet(peer, held.labels)
    rows: list[dict[str, Any]] = []
    with progress("listening", len(systems) * len(held.paths)) as step:
        for name, hear in systems.items():
            heard = []
            for path in held.paths:
                heard.append(hear(path))
                step(1)
            rows.append({"system": name, "model_sha256": hashes.get(name), **figures(heard, held)})
    events = sum(map(len, held.truth))
    report = {
        "soundscapes": folder.resolve().name,
        "recipe": recipe,
        "split": split,
        "recordings": len(held.paths),
        "events": events,
        "seconds": sum(found.duration for found in heard),
        "classes": int((held.targets.sum(0) > 0).sum()),
        "systems": rows,
    }
    click.echo(document(report), nl=False)
    if json_file:
        write_json(json_file, report)


def read_soundscapes(folder: Path, split: str) -> Soundscapes:
    """The recordings of a split of a set of soundscapes (``training.data.augment.soundscape_set``).

    Raises
    ------
    ManifestError, EvaluationError
        If the set cannot be read, or holds none.
    """
    manifest = Manifest.load(folder / "manifest.csv").select(split)
    if not len(manifest):
        raise EvaluationError(f"{folder}: no recording of the split {split!r}")
    events, _ = read_events(folder / f"{split}.tsv")
    truth: dict[str, Spans] = {Path(path).name: [] for path in manifest.paths}
    for event in events:
        place = manifest.vocabulary.find(event.label)
        if event.clip not in truth or (event.label and place is None):
            raise EvaluationError(f"{folder / split}.tsv: {event.clip}, {event.label!r}: not in manifest.csv")
        if place is not None:
            truth[event.clip].append((event.onset, event.offset, place))
    return Soundscapes(
        manifest.vocabulary.labels, [Path(path) for path in manifest.paths], manifest.targets(), list(truth.values())
    )


def read_recipe(folder: Path) -> dict[str, Any] | None:
    """How a set of soundscapes was made; None: by something else than training.data.

    Raises
    ------
    EvaluationError
        If that cannot be read.
    """
    path = folder / "recipe.json"
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}); make the soundscapes anew") from None


def sedkit_model(tagger: Tagger, labels: Sequence[Label]) -> Callable[[Path], Heard]:
    """Recording → what a sedkit model hears in it: its segments, and tags and events as sedkit makes them of those.

    Raises
    ------
    EvaluationError
        If it does not know a class.
    """
    known = {label.mid or label.name: place for place, label in enumerate(tagger.labels)}
    keys = [label.mid or label.name for label in labels]
    if unknown := [label.name for key, label in zip(keys, labels, strict=True) if key not in known]:
        names = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise EvaluationError(f"{tagger.model.path}: does not know {len(unknown)} of the classes ({names})")
    columns = [known[key] for key in keys]
    wanted = {key: place for place, key in enumerate(keys)}
    tags_view, timeline_view = tagger.tags_view(top_k=None), tagger.timeline_view(resolution="native", scores=True)
    thresholds = np.array(tagger.contract.thresholds)[columns]

    def hear(path: Path) -> Heard:
        tagging, timed, edges = tags_view(), timeline_view(), []
        with open_audio(path) as stream:
            for samples, kept, segments in tagger.model.scored(stream):
                edges.append(tile_edges(samples)[kept])
                tagging.add(segments)
                timed.listen(samples, kept)
                timed.add(segments)
        timeline = timed.finish(str(path), stream.duration)
        tags = {tag.mid or tag.label: tag.score for tag in tagging.finish(str(path), stream.duration).tags}
        scored = np.array([tags[key] for key in keys], np.float32)
        found = [(event.onset, event.offset, event.mid or event.label) for event in timeline.events]
        return Heard(
            *event_scores(timeline.scores[:, columns], np.concatenate(edges), timeline.duration),
            [(onset, offset, wanted[key]) for onset, offset, key in found if key in wanted],
            scored,
            scored >= thresholds,
        )

    return hear


def yamnet(model: Path, labels: Sequence[Label]) -> Callable[[Path], Heard]:
    """Recording → what YAMNet hears in it: the classes under their names, events at a threshold of 0.5.

    A frame's score holds for the 0.48 s around its centre; tags are means over frames.
    """
    peer = YamnetTflite(model)

    def hear(path: Path) -> Heard:
        with open_audio(path) as stream:
            waveform = np.concatenate([*stream, np.zeros(0, np.float32)])
        scores = match_classes(peer(waveform).scores, peer.labels, labels)
        edges = peer.hop * np.arange(len(scores) + 1.0) + (peer.window - peer.hop) / 2
        edges[0], edges[-1] = 0, len(waveform) / SAMPLE_RATE
        tags = scores.mean(0)
        return Heard(edges, scores, spans(edges, scores, PEER_THRESHOLD), tags, tags >= PEER_THRESHOLD)

    return hear


def figures(heard: Sequence[Heard], held: Soundscapes) -> dict[str, Any]:
    """Metrics of a system: of tags and of times."""
    tags = summary(held.targets, np.stack([found.tags for found in heard]), held.labels)
    _, tag_f1 = f1_scores(np.stack([found.present for found in heard]), held.targets)
    return {"mAP": tags.mean_ap, "mAUC": tags.mean_auc, "tag_f1": tag_f1, **quality(heard, held.truth)}


def document(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    rows = [[row["system"], *(three(row[key]) for key in COLUMNS)] for row in report["systems"]]
    return (
        f"## Timelines of {report['soundscapes']}\n\n"
        f"- {report['recordings']} recordings of the split {report['split']}, {report['seconds'] / 60:.0f} min, "
        f"{report['events']} events of {report['classes']} classes\n"
        "- all classes count the same; best F1: at the thresholds, one a class, that are best on these recordings\n"
        "- PSDS mean: over classes, without PSDS's penalty for how much they differ\n\n"
        + table(["system", *COLUMNS.values()], rows)
    )

"""``sedkit-train evaluate first``: how often the tag with the highest score is right, also in clips that hold none.

A tag is right if its class is in the clip by the manifest, and wrong if it is absent. Classes of the manifest and the
model are matched by MID, or by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.tagger import Tagger
from training.data.store.source import open_audio
from training.evaluate.unknown import score_clips, targets_for
from training.runtime.files import write_json
from training.runtime.progress import decoding

THRESHOLDS = (0.0, 0.3, 0.5)
HEAD = "| model | right | right, 0.3 or more | right, 0.5 or more | wrong | wrong, 0.3 or more | wrong, 0.5 or more |"


def first_tags(targets: NDArray[np.float32], scores: NDArray[np.float64]) -> dict[str, list[float]]:
    """Shares of the clips whose highest tag is ``right`` or ``wrong`` and scores at least each of ``THRESHOLDS``.

    Parameters
    ----------
    targets, scores : [clips, classes]; a tag whose target is NaN is neither.
    """
    clips, best = np.arange(len(scores)), scores.argmax(axis=1)
    truth, score = targets[clips, best], scores[clips, best]
    shares = {"right": truth == 1, "wrong": truth == 0}
    return {
        name: [round(float((kind & (score >= threshold)).mean()), 4) for threshold in THRESHOLDS]
        for name, kind in shares.items()
    }


@click.command("first")
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest with clips of the classes, and of others.")
@click.option("--split", default="test", show_default=True, help="Split to test on.")
@click.option("--clips", "prefix", default="", metavar="PREFIX", help="Only clips whose names begin so: esc50.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write this JSON file.")
def command(models: tuple[Path, ...], manifest: str, split: str, prefix: str, json_file: Path | None) -> None:
    """Measure how often the highest tag of MODELS is right.

    Every clip counts, also those that hold none of a model's classes. Where nobody checked the class of the highest
    tag, it is neither right nor wrong.

    \b
    Examples:
      sedkit-train evaluate first models/wels-secost*.onnx --manifest checked.csv --clips more
    """
    with decoding() as progress:
        audio = open_audio(manifest, None, progress=progress)
    names = audio.manifest.names()
    rows = np.array([row for row in audio.manifest.labelled(split) if names[row].startswith(prefix)], np.int64)
    if not len(rows):
        raise SedkitError(f"the manifest has no clips {prefix}* in the split {split!r}: choose others")
    found: list[dict[str, Any]] = []
    for model in models:
        tagger = Tagger(model, threads=1)
        shares = first_tags(targets_for(audio.manifest, rows, tagger.labels), score_clips(tagger, audio, rows))
        found.append({"model": model.stem, **shares})
    if json_file:
        write_json(json_file, {"split": split, "clips": len(rows), "thresholds": THRESHOLDS, "models": found})
    lines = [f"{len(rows)} clips", "", HEAD, "|---" * 7 + "|"]
    for one in found:
        cells = " | ".join(f"{share:.3f}" for share in one["right"] + one["wrong"])
        lines.append(f"| {one['model']} | {cells} |")
    click.echo("\n".join(lines))

"""What a run tells the user before it trains."""

from __future__ import annotations

from training.runs.config import read_config
from training.runs.run import Run
from training.supervision.equations import has_teacher


def describe_warm_start(run: Run) -> str:
    """Where the initial weights come from, as the end of a sentence; empty if they are random."""
    begun = read_config(run.directory).get("begun_with")
    if not begun:
        return ""
    known, classes = begun.get("known"), len(run.labels)
    share = f", which knows {known} of the {classes} classes" if known not in (None, classes) else ""
    return f", warm start from {begun['run']}{share}"


def warnings(run: Run) -> list[str]:
    """Classes without clips in a split, possible leaks of test clips, and clips that no network learns from."""
    lines = []
    for split, consequence in (
        ("train", "scores for them mean nothing"),
        ("validation", "they do not take part in choosing the best epoch"),
    ):
        counts = run.manifest.labels.take(run.manifest.indices(split)).counts(len(run.labels))
        missing = [label.name for label, count in zip(run.labels, counts, strict=True) if not count]
        if missing:
            names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            lines.append(
                f"{len(missing)} of {len(counts)} classes have no clip in the split '{split}' ({names}): {consequence}"
            )
    lines += [
        f"{source} was trained with another manifest: if it saw test clips of this one, their figures mean little"
        for source in _trained_elsewhere(run)
    ]
    if run.unlabelled and not any(map(has_teacher, run.supervision)):
        lines.append(f"{run.unlabelled} unlabelled clips are not used: no network has a teacher (--stages, --alpha)")
    return lines


def _trained_elsewhere(run: Run) -> list[str]:
    """The warm start and the teachers whose training data was another manifest."""
    config = read_config(run.directory)
    begun = config.get("begun_with")
    sources = [f"the warm start {begun['run']}"] if begun and begun["manifest_sha256"] != run.data else []
    for name, about in (config.get("teachers") or {}).items():
        if about.get("manifest_sha256", run.data) != run.data:
            sources.append(f"the teacher {name}")
    return sources

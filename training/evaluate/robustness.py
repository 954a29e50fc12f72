"""``sedkit-train evaluate robustness``: accuracy under noise, codecs and level changes, and false alarms on noise.

Every degraded clip is written as an audio file in memory, then read and tagged by sedkit itself.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.pipeline import analyse
from sedkit.metrics import summary
from sedkit.tagger import Tagger
from training.data.audio import FULL_SCALE
from training.data.augment.channel import reverberant
from training.data.augment.negatives import hum
from training.data.augment.soundscapes import coloured_noise, rms
from training.data.store.source import Audio, open_audio
from training.runtime.files import sha256, write_json
from training.runtime.progress import decoding

Sound = NDArray[np.float64]  # [samples], 16 kHz, in [-1, 1]
Condition = Callable[[Sound, np.random.Generator], BinaryIO]  # degrades a sound and returns it as an audio file
SECONDS = 10.0  # length of the sounds without events


def wav_file(sound: Sound, rate: int = SAMPLE_RATE) -> BinaryIO:
    """A sound as a 16-bit wav file; samples outside [-1, 1] are clipped."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype="PCM_16", format="WAV")
    file.seek(0)
    return file


def noisy(sound: Sound, random: np.random.Generator, slope: float, snr: float) -> BinaryIO:
    """Add noise with power f^-``slope`` at ``snr`` dB below the clip's level; scale down if the sum would clip.

    The clip's level leaves out the digital silence that pads it.
    """
    noise = coloured_noise(len(sound), slope, random)
    level = rms(np.trim_zeros(sound) if sound.any() else sound) * 10 ** (-snr / 20)
    mixed = sound + noise * (level / rms(noise))
    return wav_file(mixed / max(1.0, np.abs(mixed).max()))


def in_a_room(sound: Sound, random: np.random.Generator, t60: float) -> BinaryIO:
    """Add reverberation of a room with decay time ``t60`` in seconds (``training.data.augment.channel``)."""
    samples = np.rint(sound * (FULL_SCALE - 1)).astype(np.int16)
    return wav_file(reverberant(samples, t60, random) / FULL_SCALE)


def band_limited(sound: Sound, _: np.random.Generator, corner: float) -> BinaryIO:
    """Remove all frequencies above ``corner`` in Hz."""
    spectrum = np.fft.rfft(sound)
    spectrum[np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE) > corner] = 0
    return wav_file(np.fft.irfft(spectrum, len(sound)))


def amplified(sound: Sound, _: np.random.Generator, decibels: float) -> BinaryIO:
    """Change the level; samples beyond full scale are clipped."""
    return wav_file(sound * 10 ** (decibels / 20))


def clipped(sound: Sound, _: np.random.Generator, decibels: float) -> BinaryIO:
    """Clip at ``decibels`` below the peak, without make-up gain."""
    ceiling = np.abs(sound).max() * 10 ** (-decibels / 20)
    return wav_file(np.clip(sound, -ceiling, ceiling))


def resampled(sound: Sound, _: np.random.Generator, rate: int) -> BinaryIO:
    """Resample, and store at the new rate."""
    import soxr

    return wav_file(soxr.resample(sound, SAMPLE_RATE, rate, quality="VHQ"), rate)


def mp3(sound: Sound, _: np.random.Generator, bitrate: int) -> BinaryIO:
    """Encode as mp3 at ``bitrate`` bit/s."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", bit_rate=bitrate)
        samples = np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16p", "mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    file.seek(0)
    return file


CONDITIONS: dict[str, Condition] = {
    "clean": partial(amplified, decibels=0.0),
    **{f"white noise, SNR {snr} dB": partial(noisy, slope=0.0, snr=snr) for snr in (20, 10, 0)},
    **{f"pink noise, SNR {snr} dB": partial(noisy, slope=1.0, snr=snr) for snr in (20, 10, 0)},
    **{f"a room, T60 {t60} s": partial(in_a_room, t60=t60) for t60 in (0.3, 0.8)},
    "nothing above 4 kHz": partial(band_limited, corner=4000.0),
    "mp3, 32 kbit/s": partial(mp3, bitrate=32_000),
    "clipped 12 dB below its peak": partial(clipped, decibels=12.0),
    "20 dB louder, clipped": partial(amplified, decibels=20.0),
    "20 dB quieter": partial(amplified, decibels=-20.0),
    "a file of 8 kHz": partial(resampled, rate=8000),
    "a file of 44.1 kHz": partial(resampled, rate=44_100),
}


def under_conditions(
    tagger: Tagger,
    audio: Audio,
    split: str = "test",
    clips: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Metrics of tags under every condition.

    Parameters
    ----------
    clips : number of clips, drawn with ``seed``; None for all.

    Returns
    -------
    One ``{"condition", "clips", "mAP", "accuracy"}`` per condition. Classes without a clip are left out of mAP.

    Raises
    ------
    SedkitError
        If the model's classes differ from the manifest's, or the split is empty.
    """
    manifest = audio.manifest
    if tagger.labels != manifest.vocabulary.labels:
        raise SedkitError(f"{tagger.model.path}: its classes differ from the manifest's: give the model's own manifest")
    rows = np.sort(np.random.default_rng(seed).permutation(manifest.labelled(split))[:clips])
    if not len(rows):
        raise SedkitError(f"the manifest has no clips in the split {split!r}: choose another --split")
    targets = manifest.targets(rows)
    table, hidden = [], not sys.stderr.isatty()
    for number, (name, condition) in enumerate(CONDITIONS.items()):
        random = (np.random.default_rng((seed, number, row)) for row in rows.tolist())
        files = map(condition, (audio[row] / FULL_SCALE for row in rows), random)
        with click.progressbar(tag_scores(tagger, files), len(rows), name, file=sys.stderr, hidden=hidden) as bar:
            metrics = summary(targets, np.stack(list(bar)), tagger.labels).to_dict()
        table.append({"condition": name, "clips": len(rows), "mAP": metrics["mAP"], "accuracy": metrics["accuracy"]})
    return table


def tag_scores(tagger: Tagger, files: Iterable[BinaryIO]) -> Iterator[NDArray[np.float64]]:
    """The tag scores [classes] of each file, in the order of the model's classes."""
    column = {label.name: index for index, label in enumerate(tagger.labels)}
    for _, result in analyse(tagger.model, tagger.tags_view(top_k=None, threshold=0.0, parents=True), files):
        if isinstance(result, SedkitError):
            raise result
        scores = np.zeros(len(column))
        for tag in result.tags:
            scores[column[tag.label]] = tag.score
        yield scores


def sounds_without_events(seed: int = 0) -> dict[str, Sound]:
    """Ten-second signals that contain none of the classes: silence, noise, hum and clicks."""
    random = np.random.default_rng(seed)
    samples = round(SECONDS * SAMPLE_RATE)

    def at(decibels: float, sound: Sound) -> Sound:
        return sound * (10 ** (decibels / 20) / rms(sound))

    clicks = np.zeros(samples)
    clicks[samples // 20 :: samples // 5] = 0.5
    return {
        "digital silence": np.zeros(samples),
        **{f"white noise, {x} dBFS": at(x, coloured_noise(samples, 0, random)) for x in range(-60, 1, 10)},
        **{f"pink noise, {x} dBFS": at(x, coloured_noise(samples, 1, random)) for x in range(-60, -19, 20)},
        **{f"brown noise, {x} dBFS": at(x, coloured_noise(samples, 2, random)) for x in (-60, -40, -20)},
        **{f"mains hum, {x} dBFS": at(x, hum(samples, random)) for x in (-60, -40, -20)},
        "constant offset of 0.01": np.full(samples, 0.01),
        "constant offset of 0.01, white noise at -60 dBFS": 0.01 + at(-60, coloured_noise(samples, 0, random)),
        "five clicks of one sample": clicks,
    }


def false_alarms(tagger: Tagger) -> list[dict[str, Any]]:
    """A model's output for each of :func:`sounds_without_events`.

    Returns
    -------
    One row per sound: ``sound``; ``tag`` and ``score``, the highest tag; ``tags``, those at or above the model's
    thresholds; ``segment`` and ``segment_score``, the highest segment score; ``events``, seconds of events by class.
    """
    rows = []
    for name, sound in sounds_without_events().items():
        best = tagger.tag(wav_file(sound), top_k=1, threshold=0.0)
        present = tagger.tag(wav_file(sound), top_k=None, threshold="model")
        timeline = tagger.timeline(wav_file(sound), resolution="native")
        assert timeline.scores is not None
        highest = int(timeline.scores.max(0).argmax())
        seconds: dict[str, float] = {}
        for event in timeline.events:
            seconds[event.label] = round(seconds.get(event.label, 0.0) + event.offset - event.onset, 2)
        rows.append(
            {
                "sound": name,
                "tag": best.tags[0].label,
                "score": round(best.tags[0].score, 4),
                "tags": [tag.label for tag in present.tags],
                "segment": tagger.labels[highest].name,
                "segment_score": round(float(timeline.scores.max()), 4),
                "events": seconds,
            }
        )
    return rows


def conditions_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of :func:`under_conditions` as a Markdown table."""
    lines = ["| condition | mAP | accuracy |", "|---|---|---|"]
    for row in rows:
        cells = ("-" if row[key] is None else f"{row[key]:.3f}" for key in ("mAP", "accuracy"))
        lines.append(f"| {row['condition']} | " + " | ".join(cells) + " |")
    return lines


def false_alarms_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of :func:`false_alarms` as a Markdown table. Silence scores 0 and has no highest class."""
    lines = [
        f"| {SECONDS:g} s of | highest tag | tags above threshold | highest segment | events |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        tag = f"{row['tag']} {row['score']:.2f}" if row["score"] else "0"
        segment = f"{row['segment']} {row['segment_score']:.2f}" if row["segment_score"] else "0"
        events = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["events"].items())
        lines.append(f"| {row['sound']} | {tag} | {', '.join(row['tags']) or '-'} | {segment} | {events or '-'} |")
    return lines


@click.command("robustness")
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--manifest", required=True, help="Manifest of the model's clips.")
@click.option("--vocabulary", type=click.Path(path_type=Path), help="Class list.  [default: beside the manifest]")
@click.option("--split", default="test", show_default=True, help="Split to test on.")
@click.option("--clips", type=click.IntRange(1), help="Test on N clips drawn at random.  [default: all]", metavar="N")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of clips and noise.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Also write this JSON file.")
def command(
    model: Path,
    manifest: str,
    vocabulary: Path | None,
    split: str,
    clips: int | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Measure a MODEL under noise, reverberation, codecs and level changes, and its false alarms on noise.

    `sedkit-train publish RUN` puts the results on the model's card if they are in RUN/robustness.json.

    \b
    Examples:
      sedkit-train evaluate robustness models/wels-secost.onnx --manifest manifest.csv
      sedkit-train evaluate robustness runs/first/model.onnx --manifest all.csv --clips 200 --json robustness.json
    """
    tagger = Tagger(model, threads=1)
    with decoding() as progress:
        audio = open_audio(manifest, vocabulary, progress=progress)
    report = robustness(tagger, audio, split, clips, seed)
    if json_file:
        write_json(json_file, report)
    click.echo("\n".join(report_lines(report)))


def robustness(tagger: Tagger, audio: Audio, split: str, clips: int | None, seed: int) -> dict[str, Any]:
    """The JSON report of the command: ``{"model", "model_sha256", "manifest_sha256", "split", "seed", "conditions",
    "nothing"}``.

    ``conditions`` are the rows of :func:`under_conditions`, ``nothing`` those of :func:`false_alarms`.

    Raises
    ------
    SedkitError
        If the model's classes differ from the manifest's, or the split is empty.
    """
    return {
        "model": tagger.contract.name,
        "model_sha256": sha256(tagger.model.path),
        "manifest_sha256": audio.manifest.sha256(),
        "split": split,
        "seed": seed,
        "conditions": under_conditions(tagger, audio, split, clips, seed),
        "nothing": false_alarms(tagger),
    }


def report_lines(report: dict[str, Any]) -> list[str]:
    """A report as lines of Markdown."""
    count = report["conditions"][0]["clips"]
    return [
        f"## {report['model']}: {count} clips of the {report['split']} split, seed {report['seed']}",
        "",
        *conditions_table(report["conditions"]),
        "",
        *false_alarms_table(report["nothing"]),
    ]

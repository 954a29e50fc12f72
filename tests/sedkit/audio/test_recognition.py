"""sedkit.audio.recognition: encoded sound is told from raw samples."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from sedkit.audio.recognition import HEAD, is_container, is_packets, may_be_packets
from tests.conftest import make_sound
from tests.sedkit.audio.piping import encode


def is_encoded(head: bytes) -> bool:
    return is_container(head[:24]) or (may_be_packets(head[:2]) and is_packets(head[:HEAD]))


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<i4", "<f4"])
def test_raw_samples_are_not_taken_for_encoded_sound(dtype):
    """Sounds from any position on, noise, and constants of every value of a byte."""
    sound = make_sound(1, 16_000, seed=1)
    scale = {"u1": 100, "<i2": 32000, "<i4": 2**31 - 100, "<f4": 1}[dtype]
    raw = (sound * scale + (128 if dtype == "u1" else 0)).astype(dtype).tobytes()
    assert not any(is_encoded(raw[start : start + HEAD]) for start in range(0, len(raw) - HEAD, 7))
    noise = np.random.default_rng(0).bytes(1 << 20)
    assert not any(is_packets(noise[start : start + HEAD], anywhere=True) for start in range(0, len(noise), HEAD))
    assert not any(is_encoded(bytes([value]) * HEAD) for value in range(256))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("level", [0.95, 0.7, 0.3, 0.0])  # from the lowest bit rate to the highest
def test_mp3_of_every_rate(rate, level):
    buffer = io.BytesIO()
    sound = make_sound(2, rate)
    soundfile.write(buffer, sound, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    data = buffer.getvalue()
    assert is_encoded(data)
    assert is_packets(data[777 : 777 + HEAD], anywhere=True)
    assert not is_packets(data[777 : 777 + HEAD])


@pytest.mark.parametrize("codec", ["mp2", "aac"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_mp2_and_adts(codec, rate):
    data = encode({"mp2": "mp2", "aac": "adts"}[codec], codec, make_sound(2, rate), rate)
    assert is_encoded(data)
    assert not is_encoded(data[1:])
    assert is_packets(data[1 : 1 + HEAD], anywhere=True)
    assert not is_packets(data[:100])  # one packet is not enough


def test_transport_stream():
    data = encode("mpegts", "aac")
    assert is_encoded(data)
    assert is_packets(data[100 : 100 + HEAD], anywhere=True)

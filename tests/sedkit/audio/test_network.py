"""sedkit.audio.network: real streams of a local HTTP server and of FFmpeg, which are lost and come back."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import which

import numpy as np
import pytest

from sedkit.audio.network import NetworkStream, without_password
from sedkit.errors import ArgumentError, AudioError, LostSourceError
from tests.sedkit.audio.piping import SOUND, encode, wait_until

RATE = 16_000
STREAM = encode("mp3", "libmp3lame")
Answer = Callable[["Radio", BaseHTTPRequestHandler], None]


class Radio:
    """A HTTP server. Each connection gets the next answer; when there is none left, it is refused with 503."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.connections = list(answers), 0
        self.ended = threading.Event()  # set to end the connections that go on
        radio = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                radio.connections += 1
                if not radio.answers:
                    self.send_error(503)
                    return
                with suppress(BrokenPipeError, ConnectionResetError):
                    radio.answers.pop(0)(radio, self)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://me:secret@127.0.0.1:{self.server.server_address[1]}/radio.mp3"

    def stop(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


def play(data: bytes, known_length: bool = False, then_wait: bool = False) -> Answer:
    """Answer with data, and end the connection or, if asked, keep it open without data."""

    def answer(radio: Radio, request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "audio/mpeg")
        if known_length:
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)
        request.wfile.flush()
        if then_wait:
            radio.ended.wait(60)

    return answer


@pytest.fixture
def radio() -> Iterator[Callable[..., Radio]]:
    started = []

    def start(*answers: Answer) -> Radio:
        started.append(Radio(*answers))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def open_stream(url: str, **options) -> tuple[NetworkStream, list]:
    live = NetworkStream(url, first_wait=0.05, longest_wait=0.2, **options)
    incidents = []
    live.on_incident = incidents.append
    return live, incidents


def test_stream_of_unknown_length_is_heard_and_a_lost_connection_is_made_again(radio):
    station = radio(play(STREAM), play(STREAM, then_wait=True))
    live, incidents = open_stream(station.url)
    assert live.name == station.url.replace("me:secret@", "")
    assert (live.sample_rate, live.endless) == (RATE, True)
    received = []
    with live:
        for block in live:
            received.append(block)
            if [incident.kind for incident in incidents] == ["stalled", "lost", "resumed"]:
                live.stop()
    stalled, lost, resumed = incidents
    heard = np.concatenate(received)[:, 0]
    assert stalled.cause.startswith("the connection was lost (")
    assert stalled.at == lost.at == pytest.approx(3.0, abs=0.2)
    assert resumed.at == pytest.approx(lost.at + lost.seconds)
    gap = heard[round(lost.at * RATE) : round(resumed.at * RATE)]
    assert len(gap) >= 0.04 * RATE  # at least the first wait
    assert not gap.any()
    first = heard[: round(lost.at * RATE)]
    delay = int(np.correlate(first[:8000], SOUND[:4000], "valid").argmax())  # of the encoder
    assert np.corrcoef(first[delay : delay + 40_000], SOUND[:40_000])[0, 1] > 0.7


def test_attempts_go_on_while_the_server_refuses_and_time_is_that_of_the_clock(radio):
    station = radio(play(STREAM))
    live, incidents = open_stream(station.url)
    samples = []

    def hear() -> None:
        samples.extend(len(block) for block in live)

    start = time.monotonic()
    listener = threading.Thread(target=hear)
    listener.start()
    wait_until(lambda: station.connections >= 5)
    station.answers.append(play(STREAM, then_wait=True))
    wait_until(lambda: len(incidents) == 3)
    elapsed = time.monotonic() - start
    live.stop()
    listener.join(60)
    stalled, lost, _ = incidents
    assert 0 < lost.seconds <= elapsed
    assert sum(samples) / RATE == pytest.approx(stalled.at + lost.seconds, abs=3.5)  # and the second connection's 3 s


def test_stalled_connection_is_made_again(radio):
    station = radio(play(STREAM, then_wait=True), play(STREAM, then_wait=True))
    live, incidents = open_stream(station.url, timeout=0.3)
    with live:
        for _ in live:
            if len(incidents) == 3:
                live.stop()
    assert incidents[0].cause == "the connection was lost (no data in time)"
    assert incidents[0].seconds >= 0.2
    assert incidents[1].seconds >= incidents[0].seconds  # the gap begins with the last sound


def test_without_reconnection_a_loss_is_an_error_after_the_sound(radio):
    live, incidents = open_stream(radio(play(STREAM)).url, reconnect=False)
    blocks = []
    with pytest.raises(LostSourceError, match="the connection was lost"), live:
        blocks.extend(live)
    assert sum(map(len, blocks)) / RATE == pytest.approx(3.0, abs=0.2)
    assert incidents == []


def test_recording_ends(radio):
    station = radio(play(STREAM, known_length=True))
    live, incidents = open_stream(station.url)
    assert not live.endless
    with live:
        assert sum(map(len, live)) / RATE == pytest.approx(3.0, abs=0.2)
    assert (incidents, station.connections) == ([], 1)


def test_other_sample_rate_after_a_loss_is_resampled(radio):
    other = encode("mp3", "libmp3lame", np.repeat(SOUND, 3), 48_000)
    live, incidents = open_stream(radio(play(STREAM), play(other)).url)
    total = 0
    with live:
        for block in live:
            total += len(block)
            if [incident.kind for incident in incidents].count("stalled") == 2:
                live.stop()
    second = incidents[3].at - incidents[2].at  # from the return to the second loss
    assert live.block_rate == RATE
    assert second == pytest.approx(3.0, abs=0.3)


def test_errors_of_the_first_connection(radio):
    station = radio()
    with pytest.raises(AudioError, match=r"http://127.0.0.1:\d+/radio.mp3: cannot be opened .*check the address"):
        open_stream(station.url)
    with pytest.raises(AudioError, match="cannot be opened"):
        open_stream(radio(play(b"no audio " * 5000)).url)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(AudioError, match="Connection refused"):
            open_stream(f"rtsp://127.0.0.1:{free.getsockname()[1]}/1")
    with pytest.raises(ArgumentError, match="ftp is not supported; these are: rtsp"):
        NetworkStream("ftp://me:secret@host/a.mp3")


def test_playlist_cannot_name_a_file(radio, tmp_path):
    (tmp_path / "a.mp3").write_bytes(STREAM)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{tmp_path}/a.mp3\n#EXT-X-ENDLIST\n".encode()
    with pytest.raises(AudioError, match="cannot be opened"):
        open_stream(radio(play(playlist, known_length=True)).url)


def test_password_is_not_shown():
    assert without_password("rtsp://me:se@cret@camera:554/1?a=b") == "rtsp://camera:554/1?a=b"
    assert without_password("udp://0.0.0.0:5000") == "udp://0.0.0.0:5000"
    assert without_password("http://me@host/talk@home.mp3") == "http://host/talk@home.mp3"


@pytest.mark.parametrize("password", ["pa#ss", "pa/ss", "pa?ss", "12/34", "p@a/ss", "[pass", "pa]ss", "p\u2100ss"])
def test_password_with_special_characters_is_not_shown(password):
    url = f"rtsp://me:{password}@camera/1"
    assert without_password(url) == "rtsp://camera/1"


@pytest.mark.parametrize(
    "url", ["http://[bad", "rtsp://me:pa#ss@camera/1", "http://me:[secret@host", "http://host:port/"]
)
def test_invalid_url_is_refused(url):
    with pytest.raises(ArgumentError, match="is no valid URL; check host and port, and write the characters") as caught:
        NetworkStream(url)
    assert not any(part in str(caught.value) for part in ("me:", "ss@", "secret"))


class Camera:
    """A minimal RTSP server (RFC 2326). Each connection gets 2 s of a tone as L16 in RTP over TCP, then it ends."""

    SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=a\r\nt=0 0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 L16/16000/1\r\n"

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url, self.requests = f"rtsp://127.0.0.1:{self.server.getsockname()[1]}/1", list[str]()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self.answer(connection)

    def answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            while line := reader.readline():
                method = line.decode().split()[0]
                headers = dict(header.decode().strip().split(": ", 1) for header in iter(reader.readline, b"\r\n"))
                self.requests.append(f"{method} {headers.get('Transport', '')}")
                body, extra = "", ""
                if method == "DESCRIBE":
                    body = self.SDP
                    extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif method == "SETUP":
                    extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
                connection.sendall(
                    f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\nSession: 1\r\n{extra}\r\n{body}".encode()
                )
                if method == "PLAY":
                    break
        tone = (10_000 * np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE)).astype(">i2")
        for number, start in enumerate(range(0, len(tone), 320)):
            packet = struct.pack(">BBHII", 0x80, 97, number, start, 1) + tone[start : start + 320].tobytes()
            connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def is_tone(samples: np.ndarray) -> bool:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return abs(spectrum.argmax() * RATE / len(samples) - 500) < 3


def test_camera_is_heard_over_tcp_and_connected_again():
    camera = Camera()
    live, incidents = open_stream(camera.url)
    heard = []
    with live:
        for block in live:
            heard.append(block[:, 0])
            if [incident.kind for incident in incidents].count("stalled") == 2:
                live.stop()
    camera.server.close()
    assert is_tone(np.concatenate(heard)[: round(incidents[0].at * RATE)])
    assert is_tone(np.concatenate(heard)[round(incidents[2].at * RATE) : round(incidents[3].at * RATE)])
    assert "RTP/AVP/TCP" in next(line for line in camera.requests if line.startswith("SETUP"))


@pytest.mark.skipif(which("ffmpeg") is None, reason="needs ffmpeg (apt install ffmpeg)")
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_stream_of_ffmpeg(protocol):
    """FFmpeg sends a tone until it is killed."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"{protocol}://127.0.0.1:{free.getsockname()[1]}"
    tone = ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "sine=frequency=500:sample_rate=16000"]
    to = f"{url}?listen=1" if protocol == "tcp" else f"{url}?pkt_size=188"
    command = [*tone, "-c:a", "mp2", "-f", "mpegts", to]
    sender = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        live = connected(url)
        heard = []
        with live:
            for block in live:
                heard.append(block[:, 0])
                if sum(map(len, heard)) > RATE:
                    live.stop()
        assert is_tone(np.concatenate(heard)[-RATE // 2 :])
    finally:
        sender.kill()
        sender.wait()


def connected(url: str) -> NetworkStream:
    """The stream, as soon as there is one."""
    end = time.monotonic() + 60
    while True:
        try:
            return open_stream(url)[0]
        except AudioError:
            assert time.monotonic() < end
            time.sleep(0.05)

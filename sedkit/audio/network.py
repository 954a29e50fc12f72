"""Audio from a network: RTSP cameras, HTTP radio, UDP and the other protocols of FFmpeg; reconnects by itself.

While there is no connection, silence takes the place of the audio, as fast as the clock runs. So positions in the audio
stay those of the clock, whatever the gap.
"""

from __future__ import annotations

import atexit
import re
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.container import audio_track
from sedkit.audio.frames import frame_samples, layout_weights
from sedkit.audio.live import Incident, LiveAudio, Queued
from sedkit.errors import ArgumentError, AudioError, LostSourceError

if TYPE_CHECKING:
    import av

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "tcp", "rtp", "rtmp", "rtmps")
PROTOCOLS = "rtsp,rtp,http,https,udp,tcp,tls,crypto,httpproxy,rtmp,rtmps,rtmpt"  # no files, which a playlist could name
TIMEOUT = 8.0  # seconds without data until the connection counts as lost; also to connect
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until the next attempt; each wait is twice as long as the one before
SILENCE_SECONDS = 0.25  # how often silence is filled in
MAX_QUEUED = 4096  # blocks; after that, the stream has to wait


class NetworkStream(LiveAudio):
    """A stream of a network, received and decoded by a daemon thread.

    The stream of a file of known length ends with the file. All others go on until they are stopped.

    Parameters
    ----------
    url : with one of the :data:`SCHEMES`. Names and messages leave out user names and passwords.
    track : number of the audio track, from 1 on; None for the default one, otherwise the first.
    reconnect : whether to connect again when the connection is lost.
    timeout, first_wait, longest_wait : seconds; see :data:`TIMEOUT`, :data:`FIRST_WAIT` and :data:`LONGEST_WAIT`.

    Raises
    ------
    ArgumentError
        If the URL is invalid, or its scheme not known.
    AudioError
        If the first connection fails, or there is no audio.
    """

    def __init__(
        self,
        url: str,
        track: int | None = None,
        reconnect: bool = True,
        timeout: float = TIMEOUT,
        first_wait: float = FIRST_WAIT,
        longest_wait: float = LONGEST_WAIT,
    ) -> None:
        _check(url)
        super().__init__(without_password(url), 0.0)
        opened = SimpleQueue[Exception | None]()
        waits = first_wait, longest_wait
        self._receiver = _Receiver(url, self.name, track, reconnect, timeout, waits, self._blocks, opened)
        self._receiver.start()
        while True:
            try:
                failure = opened.get(timeout=1.0)
            except Empty:  # as in _wait()
                continue
            break
        if failure:
            raise failure
        self.endless = self._receiver.endless
        self.sample_rate = self.block_rate = self._receiver.rate
        self.weights = self._receiver.weights

    @property
    def damages(self) -> int:
        return self._receiver.damages

    def stop(self) -> None:
        super().stop()
        self._receiver.closed.set()

    def close(self) -> None:
        self._receiver.closed.set()
        self._blocks.put(None)

    def _consumed(self, blocks: int) -> None:
        if blocks:
            self._receiver.free_slots.release(blocks)


class _Receiver(threading.Thread):
    """Connect, decode, queue; after a loss, silence and another attempt."""

    def __init__(
        self,
        url: str,
        name: str,
        track: int | None,
        reconnect: bool,
        timeout: float,
        waits: tuple[float, float],
        queue: SimpleQueue[Queued],
        opened: SimpleQueue[Exception | None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.url, self.track, self.reconnect = url, track, reconnect
        self.timeout, self.waits = timeout, waits
        self.queue, self.opened = queue, opened
        self.closed, self.free_slots = threading.Event(), threading.Semaphore(MAX_QUEUED)
        self.rate, self.damages, self.endless = 0.0, 0, True
        self.weights: tuple[float, ...] | None = None
        self.samples = 0  # queued so far
        self.heard, self.channels, self.latest = 0, 1, 0.0  # blocks so far; of the latest one, and when it came
        _receivers.add(self)

    def run(self) -> None:
        """Queue blocks and incidents, then None or the exception that ended them."""
        try:
            self.queue.put(self._receive())
        except Exception as error:  # of sedkit's code: the consumer must not wait for ever
            self._end(error)

    def _end(self, error: Exception) -> None:
        (self.queue if self.rate else self.opened).put(error)

    def _receive(self) -> Exception | None:
        failure = self._connect()
        if not self.rate:
            self.opened.put(failure or AudioError(f"{self.name}: contains no samples; check the address"))
        while failure and self.reconnect and self.endless and not self.closed.is_set():
            failure = self._recover(str(failure).removeprefix(f"{self.name}: "))
        return failure

    def _recover(self, cause: str) -> Exception | None:
        """Try to connect until it works and is lost again; the reason is returned."""
        start, position = self.latest, self.samples
        self.queue.put(Incident("stalled", position / self.rate, time.monotonic() - start, cause))
        wait, longest = self.waits

        def back() -> None:
            self._fill(start, position)
            seconds = (self.samples - position) / self.rate
            self.queue.put(Incident("lost", position / self.rate, seconds))
            self.queue.put(Incident("resumed", self.samples / self.rate, seconds))

        while True:
            deadline = time.monotonic() + wait
            while (rest := deadline - time.monotonic()) > 0:
                if self.closed.wait(min(rest, SILENCE_SECONDS)):
                    return None
                self._fill(start, position)
            heard = self.heard
            failure = self._connect(back)
            if failure is None or self.heard > heard:
                return failure
            wait = min(2 * wait, longest)

    def _fill(self, start: float, position: int) -> None:
        """Queue silence for the time since `start`, at which `position` samples had been queued."""
        missing = round((time.monotonic() - start) * self.rate) - (self.samples - position)
        if missing > 0:
            self._put(np.zeros((missing, self.channels), np.float32))

    def _connect(self, on_first: Callable[[], None] | None = None) -> Exception | None:
        """Queue all blocks of one connection; the reason why it ended, None if it should."""
        import av

        try:
            for block in self._blocks():
                if on_first:
                    on_first()
                    on_first = None
                if not self._put(block):
                    return None
                self.heard, self.latest = self.heard + 1, time.monotonic()
        except av.FFmpegError as error:
            if self.closed.is_set():
                return None
            cause = error.strerror or "unknown cause"
            if isinstance(error, av.error.ExitError):
                cause, self.latest = "no data in time", min(self.latest, time.monotonic() - self.timeout)
            lost = f"{self.name}: the connection was lost ({cause.strip(' .')})"
            first = f"{self.name}: cannot be opened ({cause.strip(' .')}); check the address"
            return LostSourceError(lost) if self.rate else AudioError(first)
        except AudioError as error:
            return error
        return LostSourceError(f"{self.name}: the stream has ended") if self.endless else None

    def _blocks(self) -> Iterator[NDArray[Any]]:
        import av

        options = {"protocol_whitelist": PROTOCOLS, "analyzeduration": "500000", "rtsp_flags": "prefer_tcp"}
        with av.open(self.url, "r", metadata_errors="ignore", options=options, timeout=self.timeout) as container:
            track = audio_track(container, self.name, self.track)
            self.endless = self.endless and container.duration is None
            resampler: av.AudioResampler | None = None
            for packet in container.demux(track):
                try:
                    frames = [frame for frame in packet.decode() if frame.samples]
                except av.FFmpegError:
                    self.damages += bool(self.rate)
                    continue
                for frame in frames:
                    if not self.rate:
                        self.rate, self.weights = float(frame.sample_rate), layout_weights(frame.layout.name)
                        self.opened.put(None)
                    if frame.sample_rate == self.rate:
                        yield frame_samples(frame).T
                        continue
                    resampler = resampler or av.AudioResampler("flt", frame.layout, round(self.rate))
                    yield from (frame_samples(made).T for made in resampler.resample(frame))

    def _put(self, block: NDArray[Any]) -> bool:
        """Queue a block; False if nobody wants it."""
        while not self.free_slots.acquire(timeout=SILENCE_SECONDS):
            if self.closed.is_set():
                return False
        if self.closed.is_set():
            return False
        self.queue.put(block)
        self.samples += len(block)
        self.channels = block.shape[1]
        return True


_receivers = WeakSet[_Receiver]()


def is_receiving() -> bool:
    """Whether a thread is in FFmpeg. It crashes if the interpreter is taken down meanwhile."""
    return any(receiver.is_alive() for receiver in _receivers)


@atexit.register
def _end_receivers() -> None:
    """Wait until no thread is in FFmpeg; at the latest, after the time in which a server has to answer."""
    for receiver in _receivers:
        receiver.closed.set()
    for receiver in filter(_Receiver.is_alive, _receivers):
        receiver.join(receiver.timeout + 1)


def _check(url: str) -> None:
    try:
        scheme = urlsplit(url).scheme
        _ = urlsplit(url).port
    except ValueError:  # its text may have the password
        raise ArgumentError(
            f"{without_password(url)}: is no valid URL; check host and port, and write the characters /?#@ of a "
            "password as %2F, %3F, %23 and %40"
        ) from None
    if scheme not in SCHEMES:
        raise ArgumentError(f"{without_password(url)}: {scheme} is not supported; these are: {', '.join(SCHEMES)}")


def without_password(url: str) -> str:
    """A URL as it may be shown and stored.

    A password may hold ``/``, ``?`` or ``#``, at which a host ends. So all before the last ``@`` is left out, even in
    what looks like a path, if a colon is before it.

    >>> without_password("rtsp://me:secret@camera:554/1")
    'rtsp://camera:554/1'
    >>> without_password("rtsp://me:pa#ss@camera:554/1")
    'rtsp://camera:554/1'
    >>> without_password("https://example.org/talk@home.mp3")
    'https://example.org/talk@home.mp3'
    """
    scheme, mark, rest = url.partition("://")
    before, _, after = rest.rpartition("@")
    if ":" not in before:
        user = re.match("[^/?#]*@", rest)
        after = rest[user.end() :] if user else rest
    return scheme + mark + after

// The player: an <audio> element, and the period that is to be played.
"use strict";

sedkit.Player = class {
  constructor(audio, duration, { moved, changed, failed }) {
    Object.assign(this, { audio, duration, moved, changed, until: null, playable: false });
    audio.addEventListener("loadedmetadata", () => { this.playable = true; });
    audio.addEventListener("error", () => { this.playable = false; failed(); });
    for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, () => { changed(); this.follow(); });
    audio.addEventListener("seeked", () => moved());
    audio.addEventListener("timeupdate", () => this.check());
  }

  get time() { return this.audio.currentTime; }
  get playing() { return !this.audio.paused && !this.audio.ended; }

  load(url) { if (url) this.audio.src = url; }

  seek(time) {
    this.until = null;
    this.audio.currentTime = Math.max(0, Math.min(this.duration, time));
    this.moved();
  }

  toggle() {
    this.until = null;
    if (this.playing) this.audio.pause();
    else this.start();
  }

  play(onset, offset) {
    this.seek(onset);
    this.until = offset;
    this.start();
  }

  start() { this.audio.play().catch(() => {}); }  // refused or interrupted: the button shows it

  check() {
    if (this.until !== null && this.time >= this.until) {
      this.until = null;
      this.audio.pause();
    }
  }

  follow() {
    this.check();
    this.moved();
    if (this.playing) requestAnimationFrame(() => this.follow());
  }
};

// The microphone: its samples go to the server through a WebSocket and are kept, to be analysed as a recording.
"use strict";

const LONGEST = 3600;  // seconds that are kept

sedkit.Microphone = class {
  // `heard` gets each record of the server, `level` the level of each block, `ended` a WAV file or null, and an error.
  constructor({ heard, level, ended }) {
    Object.assign(this, { heard, level, ended, blocks: [], samples: 0, stopped: false });
  }

  get seconds() { return this.samples / (this.context?.sampleRate || 1); }

  async start() {
    if (!navigator.mediaDevices) throw new Error("browsers allow microphones on https and on localhost only");
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.input = await navigator.mediaDevices.getUserMedia({ audio: plain });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/assets/capture.js");
    await this.connect();
    this.node = new AudioWorkletNode(this.context, "capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => this.take(data);
    this.context.createMediaStreamSource(this.input).connect(this.node);
    await this.context.resume();
  }

  connect() {
    const query = new URLSearchParams({ rate: this.context.sampleRate, encoding: "f32le", name: "microphone" });
    const coded = btoa(String.fromCharCode(...new TextEncoder().encode(sedkit.token()))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const url = new URL(`/v1/listen?${query}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url, coded ? ["sedkit", `token.${coded}`] : ["sedkit"]);
    this.socket.onmessage = ({ data }) => this.heard(JSON.parse(data));
    return new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onclose = (event) => {
        if (this.node) this.finish(this.stopped ? "" : event.reason || "the server has ended the connection");
        else reject(new Error(event.reason || "the server refuses the microphone"));
      };
    });
  }

  take(block) {
    if (this.stopped) return;
    this.samples += block.length;
    this.blocks.push(block);
    this.level(Math.sqrt(block.reduce((sum, value) => sum + value * value, 0) / block.length));
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(block);
    if (this.seconds >= LONGEST) this.stop();
  }

  // End the sound; the server sends its last records and closes the connection.
  stop() {
    if (this.stopped) return;
    this.stopped = true;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send("end");
    else this.finish("");
  }

  finish(problem) {
    if (this.finished) return;
    this.stopped = this.finished = true;
    for (const track of this.input.getTracks()) track.stop();
    this.context.close();
    this.ended(this.samples ? this.file() : null, problem);
  }

  // What was heard as a WAV file of 16 bits.
  file() {
    const rate = this.context.sampleRate, bytes = 2 * this.samples, view = new DataView(new ArrayBuffer(44 + bytes));
    const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, 36 + bytes, true);
    text(8, "WAVEfmt ");
    for (const [at, value] of [[16, 16], [24, rate], [28, 2 * rate]]) view.setUint32(at, value, true);
    for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
    text(36, "data");
    view.setUint32(40, bytes, true);
    let at = 44;
    for (const block of this.blocks) {
      for (const value of block) { view.setInt16(at, Math.max(-1, Math.min(1, value)) * 32767, true); at += 2; }
    }
    const name = `microphone ${new Date().toTimeString().slice(0, 8).replaceAll(":", ".")}.wav`;
    return new File([view], name, { type: "audio/wav" });
  }
};

// The page of the server: recordings that are dropped, chosen or heard, and the page of the one that is shown.
"use strict";

const AT_A_TIME = 2;  // recordings that are sent

sedkit.Recording = class {
  constructor(file) { Object.assign(this, { file, state: "waiting", share: 0, page: null, root: null, message: "" }); }
};

sedkit.App = class {
  constructor() {
    Object.assign(this, { $: (id) => document.getElementById(id), recordings: [], shown: null, formats: [], sending: 0 });
  }

  start() {
    sedkit.theme(this.$("site-theme"), () => this.shown?.page?.refresh());
    this.listenToFiles();
    this.listenToMicrophone();
    this.asked = this.ask();
    document.documentElement.dataset.ready = "true";
  }

  async ask() {
    try {
      const about = await sedkit.sendForJson("/page/about", null);
      this.formats = about.formats;
      this.$("server").textContent = `model ${about.model} · ${about.classes} classes · sedkit ${about.version}`;
    } catch (error) {
      this.tell(error.message);
    }
  }

  tell(text) {
    this.$("problem").textContent = text;
    this.$("problem").hidden = !text;
  }

  listenToFiles() {
    const { $ } = this, drop = $("drop");
    $("choose").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { this.add([...$("file").files]); $("file").value = ""; });
    let inside = 0;
    const over = (change) => { inside = Math.max(0, inside + change); drop.classList.toggle("over", inside > 0); };
    addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
    addEventListener("dragleave", () => over(-1));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      over(-inside);
      this.add([...event.dataTransfer.files]);
    });
    addEventListener("paste", (event) => this.add([...event.clipboardData.files]));
  }

  add(files) {
    this.tell("");
    for (const file of files) {
      const recording = new sedkit.Recording(file);
      this.recordings.push(recording);
      this.$("recordings").append(this.item(recording));
    }
    this.$("drop").classList.toggle("small", this.recordings.length > 0);
    this.next();
  }

  // Send recordings that wait.
  next() {
    const waiting = this.recordings.filter((recording) => recording.state === "waiting");
    for (const recording of waiting.slice(0, AT_A_TIME - this.sending)) this.analyse(recording);
  }

  async analyse(recording) {
    this.sending++;
    recording.abort = new AbortController();
    const set = (state, share = null) => { Object.assign(recording, { state, share }); this.update(recording); };
    set("sending", 0);
    try {
      const progress = (share) => set(share === null || share >= 1 ? "analysing" : "sending", share);
      const path = `/page/timeline?${new URLSearchParams({ name: recording.file.name })}`;
      const data = await sedkit.sendForJson(path, recording.file, { progress, signal: recording.abort.signal });
      await this.asked;
      data.audio.url = URL.createObjectURL(recording.file);
      recording.root = document.createElement("div");
      recording.root.append(this.$("recording-page").content.cloneNode(true));
      recording.page = new sedkit.RecordingPage(data, recording.root, recording.file, this.formats);
      set("done");
      if (!this.shown && this.recordings.includes(recording)) await this.show(recording);
    } catch (error) {
      recording.message = error.message;
      if (error.name !== "AbortError") set("failed");
    }
    this.sending--;
    this.next();
  }

  item(recording) {
    const item = document.createElement("li"), open = document.createElement("button"), state = document.createElement("span"), remove = document.createElement("button");
    open.className = "open";
    open.textContent = open.title = recording.file.name;
    open.addEventListener("click", () => this.show(recording));
    state.className = "state";
    state.setAttribute("role", "status");
    remove.className = "plain";
    remove.textContent = "✕";
    remove.setAttribute("aria-label", `Remove ${recording.file.name}`);
    remove.addEventListener("click", () => this.remove(recording));
    item.append(open, state, remove);
    recording.item = item;
    this.update(recording);
    return item;
  }

  update(recording) {
    const { item, state } = recording, [open, text] = item.children;
    open.disabled = state !== "done";
    item.classList.toggle("failed", state === "failed");
    item.classList.toggle("shown", this.shown === recording);
    open.setAttribute("aria-current", String(this.shown === recording));
    const count = recording.page?.data.events.length;
    const words = { waiting: "waits", sending: "sending", analysing: "analysing", failed: recording.message, done: count === 1 ? "1 event" : `${count} events` };
    if (text.dataset.state !== state) {
      text.dataset.state = state;
      text.replaceChildren(words[state]);
      if (state === "sending" || state === "analysing") {
        const bar = document.createElement("progress");
        bar.setAttribute("aria-label", `Progress of ${recording.file.name}`);
        text.append(bar);
      }
    }
    const bar = text.querySelector("progress");
    if (bar && recording.share !== null) bar.value = recording.share;
  }

  async show(recording) {
    const before = this.shown;
    before?.page?.player?.audio.pause();
    this.shown = recording;
    if (before) this.update(before);
    this.$("view").replaceChildren(...(recording ? [recording.root] : []));
    if (!recording) return;
    this.update(recording);
    sedkit.page = recording.page;
    if (recording.page.images) recording.page.refresh();
    else await recording.page.start();
    document.title = recording.page.data.title;
  }

  remove(recording) {
    if (recording.page?.edits.saved === false && !confirm(`Remove ${recording.file.name} with its edits?`)) return;
    recording.abort?.abort();
    recording.item.remove();
    if (recording.page) URL.revokeObjectURL(recording.page.data.audio.url);
    this.recordings = this.recordings.filter((one) => one !== recording);
    if (this.shown === recording) this.show(this.recordings.find((one) => one.state === "done") || null);
    this.$("drop").classList.toggle("small", this.recordings.length > 0);
  }

  listenToMicrophone() {
    const { $ } = this;
    $("microphone").addEventListener("click", () => (this.microphone ? this.microphone.stop() : this.hear()));
    $("live-stop").addEventListener("click", () => this.microphone?.stop());
  }

  async hear() {
    const { $ } = this;
    this.tell("");
    this.microphone = new sedkit.Microphone({
      heard: (record) => this.showRecord(record),
      level: (level) => {
        $("live-level").value = Math.max(0, 1 + Math.log10(level + 1e-6) / 3);  // -60 dB to 0 dB
        $("live-time").textContent = sedkit.clock(this.microphone.seconds, 60 * 60 - 1);
      },
      ended: (file, problem) => {
        this.microphone = null;
        this.showListening(false);
        if (problem) this.tell(`The microphone has stopped: ${problem}`);
        if (file) { this.show(null); this.add([file]); }
      },
    });
    $("microphone").disabled = true;
    try {
      await this.microphone.start();
      $("live-events").replaceChildren();
      $("live-now").replaceChildren();
      this.showListening(true);
    } catch (error) {
      for (const track of this.microphone.input?.getTracks() || []) track.stop();
      this.microphone = null;
      this.tell(`The microphone cannot be used: ${error.message}`);
    }
    $("microphone").disabled = false;
  }

  showListening(on) {
    this.$("live").hidden = !on;
    this.$("microphone").setAttribute("aria-pressed", String(on));
    this.$("microphone").textContent = on ? "Stop the microphone" : "Listen to the microphone";
  }

  // A record of /v1/listen.
  showRecord(record) {
    if (record.type === "second") {
      this.$("live-now").replaceChildren(...record.tags.map((tag) => {
        const item = document.createElement("li");
        item.textContent = `${tag.label} ${tag.score.toFixed(2)}`;
        return item;
      }));
    } else if (record.type === "event" || record.type === "onset") {
      const row = document.createElement("tr"), { onset, offset } = record, length = offset === undefined ? "goes on" : `${(offset - onset).toFixed(1)} s`;
      row.append(...[sedkit.clock(onset, 60 * 60 - 1, 1), length, record.label, record.score.toFixed(2)].map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      }));
      row.dataset.event = `${onset} ${record.label}`;
      const before = [...this.$("live-events").children].find((one) => one.dataset.event === row.dataset.event);
      if (before) before.replaceWith(row);
      else this.$("live-events").prepend(row);
    } else if (record.type === "error") this.tell(record.message);
  }
};

addEventListener("DOMContentLoaded", () => {
  sedkit.app = new sedkit.App();
  sedkit.app.start();
});

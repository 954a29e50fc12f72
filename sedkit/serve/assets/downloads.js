// The page of a recording with downloads in every format: the events as they are shown and edited.
"use strict";

sedkit.RecordingPage = class extends sedkit.TimelinePage {
  constructor(data, root, file, formats) {
    super(data, root);
    Object.assign(this, { file, formats });
  }

  followTheme() { this.refresh(); }  // the theme is that of the whole document

  async start() {
    this.addDownloads();
    await super.start();
  }

  // What the browser does not play comes back from the server as a small copy, once.
  async cannotPlay() {
    if (this.copied) return this.notify("This browser cannot play the audio.");
    this.copied = true;
    try {
      this.player.load(URL.createObjectURL(await sedkit.send("/page/audio", this.file)));
    } catch (error) {
      this.notify(`This browser cannot play the audio (${error.message}).`);
    }
    return undefined;
  }

  addDownloads() {
    const group = this.root.querySelector('.editing [aria-label="Download"]'), box = document.createElement("div");
    const select = document.createElement("select"), button = document.createElement("button");
    select.setAttribute("aria-label", "Format");
    select.append(...this.formats.map(({ name }) => new Option(name)));
    select.value = "csv";
    select.id = "download-format";
    button.textContent = "Download";
    button.id = "download-as";
    box.className = "download-as";
    box.append(select, button);
    group.append(box);
    button.addEventListener("click", () => this.downloadAs(this.formats.find(({ name }) => name === select.value), button));
  }

  async downloadAs(format, button) {
    button.disabled = true;
    this.notify("");
    try {
      const { name } = this.data.recording, query = new URLSearchParams({ format: format.name, name });
      if (format.analysed) {
        if (this.threshold !== null) query.set("threshold", this.threshold);
        if (this.edits.begun) this.notify(`${format.name} shows the analysis, without the edits.`);
      }
      const answer = format.analysed
        ? await sedkit.send(`/v1/timeline?${query}`, this.file)
        : await sedkit.send(`/page/events?${query}`, JSON.stringify(this.record()), { type: "application/json" });
      sedkit.download(`${this.data.recording.stem}${format.ending}`, answer, answer.type);
      this.edits.saved = this.edits.saved || !format.analysed;
    } catch (error) {
      this.notify(`The download failed: ${error.message}`);
    }
    button.disabled = false;
  }

  // The events that are shown, without rejected ones.
  record() {
    const events = this.visible().filter((event) => event.status !== "rejected").map((event) => {
      const [label, mid] = this.labels[event.label];
      return { onset: event.onset, offset: event.offset, label, mid, score: event.score };
    });
    return { duration: this.duration, events };
  }
};

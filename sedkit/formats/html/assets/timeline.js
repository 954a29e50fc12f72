// The page of one recording: what is shown, and what the controls do.
"use strict";

// `root` holds the elements of the page; a document may have several pages, one of them in it at a time.
sedkit.TimelinePage = class {
  constructor(data, root = document) {
    this.data = data;
    this.root = root;
    this.$ = (id) => root.querySelector(`#${id}`);
    this.labels = data.labels;
    this.duration = data.recording.duration;
    this.stage = this.$("stage");
    this.axis = new sedkit.Axis(this.duration, () => this.draw());
    this.edits = new sedkit.Edits(this.labels);
    Object.assign(this, { threshold: null, off: new Set(), selected: null, editing: false, images: null, tracks: null, lanes: [] });
  }

  async start() {
    const { data, $ } = this;
    $("name").textContent = data.recording.name;
    $("about").textContent = [sedkit.clock(this.duration, this.duration, this.duration < 60 ? 1 : 0) + (this.duration < 60 ? " s" : ""), ...data.about].join(" · ");
    const [levels, scores] = await Promise.all([sedkit.inflate(data.spectrogram.levels), sedkit.inflate(data.tracks.scores)]);
    this.images = sedkit.halvings(sedkit.spectrogramImage(data.spectrogram, levels));
    this.tracks = new sedkit.Tracks(data.tracks, scores, this.duration);
    this.analysed = data.events.map(([onset, offset, label, score]) => ({ onset, offset, label, score, status: "" }));
    this.events = this.analysed;
    this.order = [...new Set([...this.analysed.map((event) => event.label), ...this.tracks.classes.map((track) => track.label)])];
    this.player = new sedkit.Player($("audio"), this.duration, {
      moved: () => this.drawPlayhead(),
      changed: () => this.showPlaying(),
      failed: () => this.cannotPlay(),
    });
    this.table = new sedkit.Table($("rows"), $("more"), {
      labels: this.labels, duration: this.duration, colourOf: (label) => this.colour(label),
      play: (event) => this.select(event, true), select: (event) => this.select(event, false),
    });
    $("frequencies").append(...data.spectrogram.frequencies.map(([text, place]) => {
      const mark = document.createElement("li");
      mark.textContent = text;
      mark.style.bottom = `${place * 100}%`;
      return mark;
    }));
    $("label-list").append(...this.labels.map(([name]) => new Option(name)));
    this.listen();
    this.followTheme();
    new ResizeObserver(() => this.draw()).observe(this.stage);
    const url = sedkit.audioUrl(data.audio);
    if (url) this.player.load(url);
    else $("play").disabled = true;
    if (data.audio.note) this.notify(data.audio.note);
    document.documentElement.dataset.ready = "true";
  }

  followTheme() { sedkit.theme(this.$("theme"), () => this.refresh()); }

  // Whether the page is in the document.
  get shown() { return this.root.isConnected; }

  cannotPlay() {
    this.notify("This browser cannot play the audio. The option --audio embed writes a page with audio that it can play.");
  }

  notify(text) {
    this.$("notice").textContent = text;
    this.$("notice").hidden = !text;
  }

  colour(label) {
    const colours = sedkit.COLOURS[document.documentElement.dataset.theme] || sedkit.COLOURS.light;
    return colours[Math.max(0, this.order.indexOf(label)) % colours.length];
  }

  // Events that are shown at the threshold, or those that are being edited.
  current() {
    if (this.edits.begun) return this.edits.events;
    if (this.threshold === null) return this.analysed;
    const events = [];
    for (const track of this.tracks.classes) {
      const found = this.tracks.events(track, this.threshold).map(([onset, offset, score]) => ({ onset, offset, label: track.label, score, status: "" }));
      events.push(...sedkit.snap(found, this.analysed.filter((event) => event.label === track.label), 2 * this.tracks.step));
    }
    return events.sort((a, b) => a.onset - b.onset || a.offset - b.offset);
  }

  // Everything that depends on the events.
  refresh() {
    this.events = this.current();
    const byClass = new Map();
    for (const event of this.events) {
      if (!byClass.has(event.label)) byClass.set(event.label, []);
      byClass.get(event.label).push(event);
    }
    const counts = new Map([...byClass].map(([label, events]) => [label, events.length]));
    for (const label of counts.keys()) if (!this.order.includes(label)) this.order.push(label);
    this.lanes = this.order.filter((label) => counts.has(label)).map((label) => ({
      label, colour: this.colour(label), track: this.tracks.classes.find((track) => track.label === label),
      events: this.off.has(label) ? [] : byClass.get(label),
    }));
    if (!this.events.includes(this.selected)) this.selected = null;
    this.showGutter(counts);
    this.showControls(counts);
    clearTimeout(this.tableTimer);
    this.tableTimer = setTimeout(() => this.table.show(this.visible(), this.selected), this.events.length > 300 ? 120 : 0);
    this.draw();
  }

  visible() { return this.events.filter((event) => !this.off.has(event.label)); }

  showGutter(counts) {
    const focused = document.activeElement?.dataset?.label;
    this.$("gutter").replaceChildren(...this.lanes.map((lane) => {
      const item = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
      const [swatch, name, count] = ["swatch", "label", "count"].map((kind) => Object.assign(document.createElement("span"), { className: kind }));
      Object.assign(box, { type: "checkbox", checked: !this.off.has(lane.label) });
      box.dataset.label = lane.label;
      box.addEventListener("change", () => { this.off[box.checked ? "delete" : "add"](lane.label); this.refresh(); });
      swatch.style.background = lane.colour;
      name.textContent = name.title = this.labels[lane.label][0];
      count.textContent = counts.get(lane.label);
      label.append(box, swatch, name, count);
      item.append(label);
      item.classList.toggle("off", !box.checked);
      return item;
    }));
    if (focused !== undefined) this.$("gutter").querySelector(`[data-label="${focused}"]`)?.focus();
  }

  showControls(counts) {
    const { $, edits } = this, fixed = edits.begun, thresholds = this.tracks.classes.map((track) => track.threshold);
    const own = this.threshold === null, movable = this.tracks.method === "hysteresis", value = own ? this.data.threshold : this.threshold;
    $("threshold").value = value;
    const common = thresholds.every((threshold) => threshold === thresholds[0]);
    $("threshold-value").textContent = own && !common ? "per class" : Number(value).toFixed(2);
    $("threshold").setAttribute("aria-valuetext", $("threshold-value").textContent);
    $("threshold").disabled = fixed || !movable;
    $("threshold-note").hidden = movable;
    $("threshold-reset").disabled = own || fixed;
    $("all-classes").hidden = this.off.size === 0;
    const events = this.visible().length, classes = [...counts.keys()].filter((label) => !this.off.has(label)).length;
    $("summary").textContent = events ? `${events} event${events > 1 ? "s" : ""} in ${classes} class${classes > 1 ? "es" : ""}` : "no class reaches its threshold";
    $("edit").setAttribute("aria-pressed", this.editing);
    $("edit-actions").hidden = !this.editing;
    $("events").classList.toggle("editing-on", fixed);
    for (const id of ["confirm", "reject", "relabel"]) $(id).disabled = !this.selected;
    $("undo").disabled = !edits.history.length;
    $("discard").disabled = !fixed;
  }

  showPlaying() {
    const { playing } = this.player;
    this.$("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    this.$("play").setAttribute("aria-pressed", playing);
    this.$("play-icon").setAttribute("d", playing ? "M7 5h4v14H7zM13 5h4v14h-4z" : "M8 5v14l11-7z");
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    if (!this.images) return;
    const { $, axis, data } = this, gutter = $("strip").offsetLeft;
    Object.assign(axis, { left: gutter, width: Math.max(1, this.stage.clientWidth - gutter) });
    sedkit.drawStrip($("strip"), axis, this.images);
    sedkit.drawSpectrogram($("spectrogram"), axis, this.images, data.spectrogram.seconds);
    sedkit.drawRuler($("ruler"), axis);
    const label = gutter ? 0 : 16, lane = gutter ? 36 : 50, box = $("lanes"), inner = $("lanes-inner");
    inner.style.height = `${Math.max(1, this.lanes.length) * lane}px`;
    for (const item of $("gutter").children) item.style.height = `${lane}px`;
    const height = Math.min(box.clientHeight || lane, this.lanes.length * lane) || 1;
    this.view = { top: box.scrollTop, height, lane, label, selected: this.selected, editing: this.editing };
    $("lanes-canvas").style.height = `${height}px`;
    sedkit.drawLanes($("lanes-canvas"), axis, this.tracks, this.lanes, this.view);
    this.drawPlayhead();
  }

  drawPlayhead() {
    const { axis, player } = this, head = this.$("playhead");
    this.$("time").textContent = `${sedkit.clock(player.time, this.duration, 1)} / ${sedkit.clock(this.duration, this.duration, this.duration < 60 ? 1 : 0)}`;
    if (player.playing && player.time > axis.end && axis.span < this.duration) axis.show(player.time, axis.span);
    const inside = player.time >= axis.start && player.time <= axis.end;
    head.hidden = !inside || this.$("play").disabled;
    head.style.transform = `translateX(${axis.x(player.time) - 1}px)`;
  }

  // Select an event; play it, if asked; bring it into view.
  select(event, play) {
    this.selected = event;
    this.showControls(new Map(this.lanes.map((lane) => [lane.label, 1])));
    const row = this.table.mark(event);
    if (event) {
      this.axis.reveal(event.onset, event.offset);
      const lane = this.lanes.findIndex((one) => one.label === event.label), box = this.$("lanes");
      if (this.view && (lane * this.view.lane < box.scrollTop || (lane + 1) * this.view.lane > box.scrollTop + box.clientHeight)) box.scrollTop = lane * this.view.lane;
      if (document.activeElement?.closest?.("#events") && row) row.scrollIntoView({ block: "nearest" });
      if (play && !this.$("play").disabled) this.player.play(event.onset, event.offset);
    }
    this.draw();
  }

  step(direction) {
    const events = this.visible();
    if (!events.length) return;
    const at = events.indexOf(this.selected);
    this.select(events[at < 0 ? (direction > 0 ? 0 : events.length - 1) : Math.max(0, Math.min(events.length - 1, at + direction))], false);
  }
};

// What mouse, fingers and keys do on the page of one recording.
"use strict";

Object.assign(sedkit.TimelinePage.prototype, {
  listen() {
    const { $, axis, player } = this;
    const on = (id, action) => $(id).addEventListener("click", action);
    on("play", () => player.toggle());
    on("zoom-in", () => axis.zoom(2, this.centre()));
    on("zoom-out", () => axis.zoom(0.5, this.centre()));
    on("fit", () => axis.show(0, this.duration));
    on("keys-button", () => $("keys").showModal());
    on("threshold-reset", () => { this.threshold = null; this.refresh(); });
    on("all-classes", () => { this.off.clear(); this.refresh(); });
    on("edit", () => this.toggleEditing());
    on("confirm", () => this.mark("confirmed"));
    on("reject", () => this.mark("rejected"));
    on("relabel", () => this.relabel());
    on("add", () => this.add());
    on("undo", () => this.undo());
    on("discard", () => { this.edits.discard(); this.editing = false; this.selected = null; this.refresh(); });
    on("download-tsv", () => this.save("tsv", sedkit.tsv(this.visible(), this.labels, this.data.recording.file), "text/tab-separated-values"));
    on("download-audacity", () => this.save("labels.txt", sedkit.audacity(this.visible(), this.labels), "text/plain"));
    $("speed").addEventListener("change", () => { $("audio").playbackRate = Number($("speed").value); });
    $("threshold").addEventListener("input", () => {
      this.threshold = Number($("threshold").value);
      cancelAnimationFrame(this.sliding);
      this.sliding = requestAnimationFrame(() => this.refresh());
    });
    $("lanes").addEventListener("scroll", () => this.draw());
    const seek = (event, time) => { if (!$("play").disabled) player.seek(time); };
    sedkit.gestures($("spectrogram"), this.stage, axis, seek);
    sedkit.gestures($("ruler"), this.stage, axis, seek);
    sedkit.gestures($("lanes"), this.stage, axis, (event, time) => this.press(event, time), (event) => !event.target.closest(".gutter label") && !this.grip(event));
    this.listenToStrip();
    this.listenToGrips();
    document.addEventListener("keydown", (event) => this.key(event));
    addEventListener("beforeunload", (event) => { if (!this.edits.saved) event.preventDefault(); });
  },

  centre() {
    const { axis, player } = this, time = this.selected ? this.selected.onset : player.time;
    return time >= axis.start && time <= axis.end ? time : (axis.start + axis.end) / 2;
  },

  at(event) { return this.axis.time(event.clientX - this.stage.getBoundingClientRect().left - this.stage.clientLeft); },

  laneAt(event) {
    const y = event.clientY - this.$("lanes-inner").getBoundingClientRect().top;
    return this.lanes[Math.floor(y / this.view.lane)];
  },

  eventAt(event) {
    const time = this.at(event), slack = (3 / this.axis.width) * this.axis.span, lane = this.laneAt(event);
    const hits = lane ? lane.events.filter((e) => e.onset - slack <= time && time <= e.offset + slack) : [];
    return hits.sort((a, b) => a.offset - a.onset - (b.offset - b.onset))[0];
  },

  press(event, time) {
    const hit = this.eventAt(event);
    if (hit) this.select(hit, true);
    else { this.select(null); if (!this.$("play").disabled) this.player.seek(time); }
  },

  listenToStrip() {
    const strip = this.$("strip"), { axis } = this;
    const show = (event) => axis.show((event.offsetX / strip.clientWidth) * this.duration - axis.span / 2, axis.span);
    strip.addEventListener("pointerdown", (event) => { strip.setPointerCapture(event.pointerId); show(event); });
    strip.addEventListener("pointermove", (event) => { if (event.buttons) show(event); });
  },

  // What a press in the lanes would drag in edit mode: an edge of the selected event, or a new event.
  grip(event) {
    if (!this.editing || !this.view) return null;
    const { selected, axis } = this, lane = this.laneAt(event);
    if (!lane) return null;
    if (selected && selected.label === lane.label && selected.status !== "rejected") {
      const x = event.clientX - this.stage.getBoundingClientRect().left - this.stage.clientLeft;
      const far = (edge) => Math.abs(axis.x(selected[edge]) - x), edge = far("onset") < far("offset") ? "onset" : "offset";
      if (far(edge) < (event.pointerType === "touch" ? 18 : 7)) return { event: selected, edge };
    }
    return event.pointerType === "mouse" && !this.eventAt(event) ? { lane } : null;
  },

  listenToGrips() {
    const lanes = this.$("lanes");
    let grip = null, from = 0, before = null;
    lanes.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.target.closest(".gutter label")) return;
      grip = this.grip(event);
      from = this.at(event);
      before = grip?.event ? { ...grip.event } : null;
    });
    lanes.addEventListener("pointermove", (event) => {
      const over = grip || this.grip(event);
      lanes.style.cursor = over?.event ? "ew-resize" : over ? "crosshair" : this.eventAt(event) ? "pointer" : "";
      if (!grip) return;
      const time = Math.max(0, Math.min(this.duration, this.at(event)));
      if (grip.lane && Math.abs(this.axis.x(time) - this.axis.x(from)) > 5) {
        const added = { onset: from, offset: from + 0.02, label: grip.lane.label, score: null, status: "added" };
        grip.lane.events.push(added);
        this.selected = added;
        grip = { event: added, added: true, edge: "both" };
        lanes.setPointerCapture(event.pointerId);
      }
      if (grip.edge === "both") Object.assign(grip.event, { onset: Math.min(from, time), offset: Math.max(from, time, Math.min(from, time) + 0.02) });
      else if (grip.edge === "onset") grip.event.onset = Math.min(time, grip.event.offset - 0.02);
      else if (grip.edge) grip.event.offset = Math.max(time, grip.event.onset + 0.02);
      this.draw();
    });
    lanes.addEventListener("pointerup", (event) => {
      const done = grip;
      grip = null;
      if (done?.lane) return this.press(event, this.at(event));
      if (!done) return undefined;
      const round = (time) => Math.round(time * 1000) / 1000, after = { onset: round(done.event.onset), offset: round(done.event.offset) };
      if (done.added) this.edits.change(done.event, after);
      else if (after.onset !== round(before.onset) || after.offset !== round(before.offset)) {
        Object.assign(done.event, before);
        this.edits.change(done.event, { ...after, status: before.status === "added" ? "added" : "changed" });
      }
      this.refresh();
      return this.select(done.event, false);
    });
  },

  toggleEditing() {
    this.editing = !this.editing;
    if (this.editing && !this.edits.begun) {
      const at = this.events.indexOf(this.selected);
      this.edits.begin(this.events);
      this.selected = this.edits.events[at] || null;
    }
    this.refresh();
  },

  mark(status) {
    if (!this.editing || !this.selected) return;
    this.edits.change(this.selected, { status: this.selected.status === status ? "" : status });
    this.refresh();
  },

  move(edge) {
    if (!this.editing || !this.selected) return;
    this.edits.move(this.selected, edge, this.player.time, this.duration);
    this.refresh();
  },

  undo() {
    if (!this.edits.history.length) return;
    this.selected = this.edits.undo();
    this.refresh();
  },

  add() {
    if (!this.editing) return;
    const onset = Math.min(this.player.time, Math.max(0, this.duration - 0.02));
    this.ask("", (label) => {
      const event = { onset, offset: Math.min(this.duration, onset + 1), label, score: null, status: "added" };
      this.edits.change(event, {});
      this.refresh();
      this.select(event, false);
    });
  },

  relabel() {
    const event = this.selected;
    if (!this.editing || !event) return;
    this.ask(this.labels[event.label][0], (label) => {
      this.edits.change(event, { label, status: event.status === "added" ? "added" : "changed" });
      this.refresh();
      this.select(event, false);
    });
  },

  // Ask for a class; a name that the model does not have becomes a class of this page.
  ask(name, then) {
    const dialog = this.$("labelling"), input = this.$("label-input");
    input.value = name;
    dialog.returnValue = "";
    dialog.showModal();
    input.select();
    dialog.onclose = () => {
      const given = input.value.trim();
      if (dialog.returnValue !== "ok" || !given) return;
      let label = this.labels.findIndex(([known]) => known.toLowerCase() === given.toLowerCase());
      if (label < 0) label = this.labels.push([given, null]) - 1;
      this.off.delete(label);
      then(label);
    };
  },

  save(ending, text, type) {
    sedkit.download(`${this.data.recording.stem}.${ending}`, text, type);
    this.edits.saved = true;
  },

  key(event) {
    if (!this.shown) return;
    const target = event.target, typing = target.closest?.("input:not([type=checkbox]), select, textarea, dialog");
    if (typing || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { this.undo(); event.preventDefault(); return; }
    if (event.ctrlKey || event.metaKey) return;
    const onButton = target.closest?.("button, input, label") && (event.key === " " || event.key === "Enter");
    const action = onButton ? null : this.keys()[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action) { event.preventDefault(); action(); }
  },

  keys() {
    const { axis, player } = this, playable = !this.$("play").disabled;
    const jump = (share) => { if (playable) { player.seek(player.time + share * axis.span); axis.reveal(player.time, player.time); } else axis.pan(share * axis.span); };
    return {
      " ": () => { if (playable) player.toggle(); }, ArrowLeft: () => jump(-0.1), ArrowRight: () => jump(0.1),
      ArrowUp: () => this.step(-1), ArrowDown: () => this.step(1), Enter: () => { if (this.selected) this.select(this.selected, true); },
      "+": () => axis.zoom(2, this.centre()), "=": () => axis.zoom(2, this.centre()), "-": () => axis.zoom(0.5, this.centre()),
      0: () => axis.show(0, this.duration), e: () => this.toggleEditing(), c: () => this.mark("confirmed"), x: () => this.mark("rejected"),
      Delete: () => this.mark("rejected"), r: () => this.relabel(), a: () => this.add(), "[": () => this.move("onset"),
      "]": () => this.move("offset"), "?": () => this.$("keys").showModal(),
    };
  },
});

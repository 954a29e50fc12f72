// Edits: a working copy of the events, with undo, and its text as TSV or Audacity labels.
"use strict";

sedkit.Edits = class {
  constructor(labels) {
    Object.assign(this, { labels, events: null, history: [], saved: true });
  }

  get begun() { return this.events !== null; }
  begin(events) { this.events = events.map((event) => ({ ...event, status: "" })); }
  discard() { Object.assign(this, { events: null, history: [], saved: true }); }

  // Change one event; returns it. `fields` of an event that is not there yet add it.
  change(event, fields) {
    this.history.push([event, { ...event }, this.events.includes(event)]);
    if (!this.events.includes(event)) this.events.push(event);
    Object.assign(event, fields);
    this.saved = false;
    this.sort();
    return event;
  }

  undo() {
    const [event, before, present] = this.history.pop();
    if (present) Object.assign(event, before);
    else this.events.splice(this.events.indexOf(event), 1);
    this.sort();
    return present ? event : null;
  }

  sort() { this.events.sort((a, b) => a.onset - b.onset || a.offset - b.offset); }

  // Move an edge, at least 20 ms from the other one.
  move(event, edge, time, duration) {
    time = Math.round(time * 1000) / 1000;
    const fields = edge === "onset" ? { onset: Math.max(0, Math.min(event.offset - 0.02, time)) } : { offset: Math.min(duration, Math.max(event.onset + 0.02, time)) };
    return this.change(event, { ...fields, status: event.status === "added" ? "added" : "changed" });
  }
};

// The events that are not rejected, as the TSV of `sedkit timeline` with a column for the status.
sedkit.tsv = function (events, labels, file) {
  const field = (value) => (/["\t\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const rows = events.filter((event) => event.status !== "rejected").map((event) => {
    const [name, mid] = labels[event.label];
    return [file, event.onset.toFixed(3), event.offset.toFixed(3), name, mid || "", event.score === null ? "" : event.score.toFixed(4), event.status || "unchecked"];
  });
  return [["file", "onset", "offset", "label", "mid", "score", "status"], ...rows].map((row) => row.map(field).join("\t") + "\n").join("");
};

sedkit.audacity = (events, labels) => events.filter((event) => event.status !== "rejected").map((event) => (
  `${event.onset.toFixed(6)}\t${event.offset.toFixed(6)}\t${labels[event.label][0].replace(/[\t\n\r]/g, " ")}\n`
)).join("");

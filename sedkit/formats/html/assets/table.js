// The table of events, which says the same as the picture: for reading, for screen readers, and for the keyboard.
"use strict";

sedkit.Table = class {
  constructor(body, more, { labels, duration, colourOf, play, select }) {
    Object.assign(this, { body, more, labels, duration, colourOf, play, select, limit: 300, rows: new Map() });
    more.addEventListener("click", () => { this.limit = Infinity; this.show(this.events, this.selected); });
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (!row) return;
      if (event.target.closest("button")) this.play(row.event);
      else this.select(row.event);
    });
  }

  show(events, selected) {
    Object.assign(this, { events, selected });
    this.rows.clear();
    this.body.replaceChildren(...events.slice(0, this.limit).map((event) => this.row(event)));
    this.more.hidden = events.length <= this.limit;
    this.more.textContent = `Show all ${events.length} events`;
    this.mark(selected);
  }

  row(event) {
    const row = document.createElement("tr"), name = this.labels[event.label][0];
    const cell = (text, kind) => {
      const td = document.createElement("td");
      if (kind) td.className = kind;
      td.append(text);
      row.append(td);
    };
    const clock = (time) => sedkit.clock(time, this.duration, 2);
    const button = document.createElement("button"), swatch = document.createElement("span");
    button.textContent = "▶";
    button.setAttribute("aria-label", `Play ${name} at ${clock(event.onset)}`);
    swatch.className = "swatch";
    swatch.style.background = this.colourOf(event.label);
    const label = document.createElement("span");
    label.append(swatch, name);
    cell(button);
    cell(clock(event.onset));
    cell(clock(event.offset), "wide");
    cell(`${(event.offset - event.onset).toFixed(2)} s`);
    cell(label);
    cell(event.score === null ? "–" : event.score.toFixed(2));
    cell(event.status || "–", "status");
    row.classList.toggle("rejected", event.status === "rejected");
    row.event = event;
    this.rows.set(event, row);
    return row;
  }

  mark(selected) {
    for (const [event, row] of this.rows) row.setAttribute("aria-current", String(event === selected));
    this.selected = selected;
    return this.rows.get(selected);
  }
};

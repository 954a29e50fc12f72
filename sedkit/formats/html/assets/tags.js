// The heat map of recordings by classes: search, sorting, and what is under the pointer.
"use strict";

const MOST_CLASSES = 60, CHUNK = 200;  // columns at first; rows that are added while the table is scrolled

sedkit.TagsPage = class {
  constructor(data) {
    Object.assign(this, { data, sort: null, least: 0, text: "", classes: MOST_CLASSES });
    this.recordings = data.recordings.map((recording) => ({ ...recording, scores: new Map(recording.scores) }));
  }

  start() {
    const $ = (this.$ = (id) => document.getElementById(id));
    $("about").textContent = [`${this.recordings.length} recording${this.recordings.length === 1 ? "" : "s"}`, ...this.data.about].join(" · ");
    $("search").addEventListener("input", () => { this.text = $("search").value.trim().toLowerCase(); this.show(); });
    $("threshold").addEventListener("input", () => {
      this.least = Number($("threshold").value);
      $("threshold-value").textContent = this.least.toFixed(2);
      this.show();
    });
    $("classes").addEventListener("click", () => { this.classes = Infinity; this.show(); });
    const about = (event) => { const cell = event.target.closest("td"); $("hovered").textContent = cell?.title || ""; };
    $("map").addEventListener("pointerover", about);
    document.querySelector(".scroll").addEventListener("scroll", (event) => {
      const box = event.currentTarget;
      if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) this.addRows();
    });
    sedkit.theme($("theme"), () => {});
    this.show();
    document.documentElement.dataset.ready = "true";
  }

  show() {
    const { data, text, least } = this, has = (name) => name.toLowerCase().includes(text);
    const reaches = (recording, column) => (recording.scores.get(column) || 0) >= Math.max(least, 1e-9);
    let rows = this.recordings.filter((recording) => has(recording.name)), columns = data.classes.map((_, column) => column);
    if (text && !rows.length) {
      columns = columns.filter((column) => has(data.classes[column]));
      rows = this.recordings.filter((recording) => columns.some((column) => reaches(recording, column)));
    }
    columns = columns.filter((column) => rows.some((recording) => reaches(recording, column)));
    if (this.sort) {
      const { column, down } = this.sort, value = (recording) => recording.scores.get(column) || 0;
      rows.sort((a, b) => (down ? 1 : -1) * (column === null ? a.name.localeCompare(b.name, undefined, { numeric: true }) : value(b) - value(a)));
    }
    this.columns = columns.slice(0, this.classes);
    this.rows = rows;
    this.$("classes").hidden = columns.length <= this.classes;
    this.$("classes").textContent = `All ${columns.length} classes`;
    this.$("summary").textContent = `${rows.length} of ${this.recordings.length} recordings, ${columns.length} classes`;
    this.$("head").replaceChildren(this.heading(null, "Recording"), ...this.columns.map((column) => this.heading(column, data.classes[column])));
    this.$("rows").replaceChildren();
    this.added = 0;
    this.addRows();
  }

  heading(column, text) {
    const cell = document.createElement("th"), button = document.createElement("button");
    cell.scope = "col";
    if (this.sort?.column === column) cell.ariaSort = this.sort.down === (column === null) ? "ascending" : "descending";
    if (column !== null) button.className = "tall";
    button.textContent = button.title = text;
    button.addEventListener("click", () => {
      this.sort = { column, down: this.sort?.column === column ? !this.sort.down : true };
      this.show();
      this.$("head").children[column === null ? 0 : this.columns.indexOf(column) + 1]?.querySelector("button").focus();
    });
    cell.append(button);
    return cell;
  }

  addRows() {
    const next = this.rows.slice(this.added, this.added + CHUNK);
    this.added += next.length;
    this.$("rows").append(...next.map((recording) => this.row(recording)));
  }

  row(recording) {
    const row = document.createElement("tr"), head = document.createElement("th"), name = document.createElement("bdi");
    const link = document.createElement(recording.link ? "a" : "span");
    if (recording.link) link.href = recording.link;
    link.title = this.data.folder + recording.name;
    name.textContent = recording.name;
    link.append(name);
    head.scope = "row";
    head.append(link);
    row.append(head, ...this.columns.map((column) => {
      const cell = document.createElement("td"), score = recording.scores.get(column);
      if (score !== undefined && score >= this.least) {
        cell.className = "scored";
        cell.textContent = score.toFixed(2).replace(/^0/, "");
        cell.title = `${recording.name}: ${this.data.classes[column]} ${score.toFixed(2)}`;
        cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(4 + 96 * score)}%, var(--paper))`;
        cell.style.color = score > 0.68 ? "var(--on-accent)" : "var(--ink)";
      }
      return cell;
    }));
    return row;
  }
};

addEventListener("DOMContentLoaded", () => {
  sedkit.page = new sedkit.TagsPage(sedkit.data());
  sedkit.page.start();
});

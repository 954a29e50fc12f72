// The time axis that all parts of the picture share: what is visible, zooming and panning by mouse, wheel and fingers.
"use strict";

sedkit.Axis = class {
  constructor(duration, changed) {
    Object.assign(this, { duration, changed, start: 0, end: duration, left: 0, width: 1 });
    this.shortest = Math.min(duration, 1);
  }

  get span() { return this.end - this.start; }
  x(time) { return this.left + ((time - this.start) / this.span) * this.width; }
  time(x) { return this.start + ((x - this.left) / this.width) * this.span; }

  show(start, span) {
    span = Math.max(this.shortest, Math.min(this.duration, span));
    this.start = Math.max(0, Math.min(this.duration - span, start));
    this.end = this.start + span;
    this.changed();
  }

  pan(seconds) { this.show(this.start + seconds, this.span); }

  // Zoom in by a factor above 1, or out, around a time that keeps its place.
  zoom(factor, around) {
    const span = Math.max(this.shortest, Math.min(this.duration, this.span / factor));
    this.show(around - ((around - this.start) / this.span) * span, span);
  }

  // Make a period visible, and leave the view as it is if it is already.
  reveal(onset, offset) {
    if (onset >= this.start && offset <= this.end) return;
    this.show(onset - Math.max(0, this.span - (offset - onset)) * 0.25, Math.max(this.span, (offset - onset) * 1.2));
  }

  // Seconds between ticks that are at least `room` pixels apart.
  step(room) {
    const least = (room / this.width) * this.span;
    return [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200].find((s) => s >= least) || 86400;
  }
};

// Wheel with Ctrl zooms, sideways pans; two fingers zoom; one drags. `clicked` gets a press that did not move.
// Places are pixels from the left of `stage`.
sedkit.gestures = function (element, stage, axis, clicked, draggable = () => true) {
  const at = (event) => event.clientX - stage.getBoundingClientRect().left - stage.clientLeft;
  element.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) axis.zoom(Math.exp(-event.deltaY * 0.01), axis.time(at(event)));
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) axis.pan(((event.deltaX || event.deltaY) / axis.width) * axis.span);
    else return;
    event.preventDefault();
  }, { passive: false });

  const pointers = new Map();
  let moved = false;
  const fingers = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.max(20, Math.abs(a - b)), middle: (a + b) / 2 };
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !draggable(event)) return;
    pointers.set(event.pointerId, at(event));
    moved = pointers.size > 1;
  });
  element.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const x = at(event), before = pointers.get(event.pointerId);
    if (pointers.size === 2) {
      const old = fingers();
      pointers.set(event.pointerId, x);
      const now = fingers();
      axis.zoom(now.distance / old.distance, axis.time(now.middle));
    } else if (moved || Math.abs(x - before) > 4) {
      if (!moved) element.setPointerCapture(event.pointerId);
      moved = true;
      axis.pan(((before - x) / axis.width) * axis.span);
      pointers.set(event.pointerId, x);
    }
  });
  const up = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (!moved && event.type === "pointerup") clicked(event, axis.time(at(event)));
  };
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
};

// What is drawn: the strip of the whole recording, the spectrogram, the ruler and the lanes, on canvases.
"use strict";

// Okabe and Ito's colours, which people with colour blindness can tell apart; lighter ones on dark paper.
sedkit.COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b0548a", "#9a6b00", "#2f8fc4", "#7b4fa3", "#5f6b6d"],
  dark: ["#4aa8e0", "#ff8a3d", "#2fc79a", "#e79cc6", "#e3b341", "#8fd0f7", "#b795e0", "#a9b4b8"],
};
const MAGMA = ["#000004", "#180f3d", "#440f76", "#721f81", "#9e2f7f", "#cd4071", "#f1605d", "#fd9668", "#feca8d", "#fcfdbf"];

sedkit.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Fit a canvas to its box and the screen; returns its context in CSS pixels, cleared.
sedkit.fit = function (canvas, width = canvas.clientWidth, height = canvas.clientHeight) {
  const ratio = Math.min(3, devicePixelRatio || 1), w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
};

// The spectrogram as a canvas with a pixel per band and column.
sedkit.spectrogramImage = function (data, levels) {
  const image = document.createElement("canvas"), { bands, columns } = data;
  [image.width, image.height] = [Math.max(1, columns), bands];
  const context = image.getContext("2d"), pixels = context.createImageData(image.width, bands);
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const table = Array.from({ length: 256 }, (_, level) => {
    const place = Math.max(0, Math.min(1, (level - data.low) / (data.high - data.low))) * (MAGMA.length - 1);
    const below = Math.min(MAGMA.length - 2, Math.floor(place)), [a, b] = [rgb(MAGMA[below]), rgb(MAGMA[below + 1])];
    return a.map((value, i) => value + (b[i] - value) * (place - below));
  });
  for (let band = 0; band < bands; band++) {
    for (let column = 0; column < columns; column++) {
      const to = ((bands - 1 - band) * columns + column) * 4, colour = table[levels[band * columns + column]];
      pixels.data.set([colour[0], colour[1], colour[2], 255], to);
    }
  }
  context.putImageData(pixels, 0, 0);
  return image;
};

// Halved copies of an image: one that is reduced to a few pixels per column is slow to draw.
sedkit.halvings = function (image) {
  const images = [image];
  while (images.at(-1).width > 512) {
    const whole = images.at(-1), half = document.createElement("canvas");
    [half.width, half.height] = [Math.ceil(whole.width / 2), whole.height];
    half.getContext("2d").drawImage(whole, 0, 0, whole.width / 2, half.height);
    images.push(half);
  }
  return images;
};

// Draw the columns [from, to) of the original into a box.
sedkit.drawColumns = function (context, images, from, to, width, height) {
  const level = Math.max(0, Math.min(images.length - 1, Math.floor(Math.log2((to - from) / width / 1.5)))), scale = 2 ** level;
  context.drawImage(images[level], from / scale, 0, (to - from) / scale, images[0].height, 0, 0, width, height);
};

sedkit.drawSpectrogram = function (canvas, axis, images, seconds) {
  const context = sedkit.fit(canvas), { clientWidth: width, clientHeight: height } = canvas;
  context.fillStyle = "#000004";
  context.fillRect(0, 0, width, height);
  sedkit.drawColumns(context, images, axis.start / seconds, axis.end / seconds, width, height);
};

sedkit.drawStrip = function (canvas, axis, images) {
  const context = sedkit.fit(canvas), { clientWidth: width, clientHeight: height } = canvas;
  sedkit.drawColumns(context, images, 0, images[0].width, width, height);
  context.fillStyle = "#0006";
  context.fillRect(0, 0, width, height);
  if (axis.span >= axis.duration) return;
  const from = (axis.start / axis.duration) * width, to = Math.max(from + 3, (axis.end / axis.duration) * width);
  context.fillStyle = "#0008";
  context.fillRect(0, 0, from, height);
  context.fillRect(to, 0, width - to, height);
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.strokeRect(from + 1, 1, Math.max(1, to - from - 2), height - 2);
};

sedkit.drawRuler = function (canvas, axis) {
  const context = sedkit.fit(canvas), step = axis.step(74), digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = context.strokeStyle = sedkit.css("--quiet");
  context.textBaseline = "middle";
  context.beginPath();
  for (let n = Math.ceil(axis.start / step - 1e-6); n * step <= axis.end + 1e-6; n++) {
    const x = Math.round(axis.x(n * step) - axis.left) + 0.5;
    context.moveTo(x, 0);
    context.lineTo(x, 6);
    const text = sedkit.clock(n * step, axis.duration, digits) + (axis.duration < 60 ? " s" : "");
    if (x + 4 + context.measureText(text).width < axis.width) context.fillText(text, x + 4, 13);
  }
  context.stroke();
};

// Lanes: the score of each class as a curve, its events as boxes. `view`: {top, height, lane, label, selected, editing}.
sedkit.drawLanes = function (canvas, axis, tracks, lanes, view) {
  const width = canvas.parentElement.clientWidth, context = sedkit.fit(canvas, width, view.height);
  const rule = sedkit.css("--rule"), ink = sedkit.css("--ink"), quiet = sedkit.css("--quiet");
  const first = Math.max(0, Math.floor(view.top / view.lane));
  const last = Math.min(lanes.length, Math.ceil((view.top + view.height) / view.lane));
  for (let row = first; row < last; row++) {
    const lane = lanes[row], y = row * view.lane - view.top, top = y + view.label + 4, bottom = y + view.lane - 4;
    context.fillStyle = rule;
    context.fillRect(0, y + view.lane - 1, width, 1);
    if (lane.track) sedkit.drawCurve(context, axis, tracks, lane, top, bottom);
    context.save();
    context.beginPath();
    context.rect(axis.left, y, axis.width, view.lane);
    context.clip();
    for (const event of lane.events) {
      if (event.offset < axis.start || event.onset > axis.end) continue;
      sedkit.drawEvent(context, axis, event, top, bottom, { colour: lane.colour, ink, quiet, ...view });
    }
    context.restore();
  }
};

sedkit.drawCurve = function (context, axis, tracks, lane, top, bottom) {
  const perPixel = axis.span / axis.width, height = bottom - top;
  context.globalAlpha = 0.5;
  context.fillStyle = lane.colour;
  let begin = 0, level = 0;
  for (let pixel = 0; pixel <= axis.width; pixel++) {
    const time = axis.start + pixel * perPixel, next = pixel < axis.width ? tracks.peak(lane.track, time, time + perPixel) : -1;
    if (next === level) continue;
    const tall = (level / 255) * height;
    if (tall >= 0.4) context.fillRect(axis.left + begin, bottom - tall, pixel - begin, tall);
    [begin, level] = [pixel, next];
  }
  context.globalAlpha = 1;
};

sedkit.drawEvent = function (context, axis, event, top, bottom, style) {
  const from = axis.x(event.onset), to = Math.max(from + 2, axis.x(event.offset)), chosen = event === style.selected;
  const rejected = event.status === "rejected", colour = rejected ? style.quiet : style.colour;
  const x = Math.max(axis.left - 4, from), w = Math.min(axis.left + axis.width + 4, to) - x;
  context.beginPath();
  context.roundRect(x, top, w, bottom - top, 3);
  context.globalAlpha = chosen ? 0.3 : 0.14;
  context.fillStyle = colour;
  context.fill();
  context.globalAlpha = 1;
  context.setLineDash(rejected ? [4, 3] : []);
  context.strokeStyle = chosen ? style.ink : colour;
  context.lineWidth = chosen ? 2 : 1.4;
  context.stroke();
  context.setLineDash([]);
  const sign = { confirmed: "✓", rejected: "✕", added: "+", changed: "✎" }[event.status];
  if (sign && w > 16) {
    context.fillStyle = style.ink;
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "top";
    context.fillText(sign, x + 4, top + 3);
  }
  if (chosen && style.editing && !rejected) {
    context.fillStyle = style.ink;
    for (const edge of [from, to]) context.fillRect(edge - 2, (top + bottom) / 2 - 8, 4, 16);
  }
};

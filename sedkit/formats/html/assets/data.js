// The data of the page: one JSON block, in which large arrays are deflated bytes in base64.
"use strict";
const sedkit = {};

sedkit.bytes = function (text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
};

sedkit.inflate = async function (text) {
  const stream = new Blob([sedkit.bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

sedkit.data = () => JSON.parse(document.getElementById("data").textContent);

// The audio as an address that <audio> plays, or null.
sedkit.audioUrl = function (audio) {
  if (audio.url) return audio.url;
  const text = document.getElementById("audio-data").textContent;
  return text ? URL.createObjectURL(new Blob([sedkit.bytes(text)], { type: audio.type })) : null;
};

// A time as 7.25, 1:07.25 or 1:01:07.25, with the fields that a recording of `reach` seconds needs.
sedkit.clock = function (seconds, reach, digits = 0) {
  const scale = 10 ** digits, total = Math.round(Math.max(0, seconds) * scale) / scale;
  if (reach < 60) return total.toFixed(digits);
  const pad = (value, width) => value.toFixed(digits).padStart(width + (digits ? digits + 1 : 0), "0");
  const minutes = Math.floor(total / 60), rest = pad(total - 60 * minutes, 2);
  if (reach < 3600) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};

// Light or dark: as the system has it, until the button is pressed. `changed` is called at first and after each change.
sedkit.theme = function (button, changed) {
  const system = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
  const set = (dark) => { root.dataset.theme = dark ? "dark" : "light"; changed(); };
  const follow = () => set(system.matches);
  system.addEventListener("change", follow);
  button.addEventListener("click", () => {
    system.removeEventListener("change", follow);
    set(root.dataset.theme !== "dark");
  });
  follow();
};

sedkit.download = function (name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

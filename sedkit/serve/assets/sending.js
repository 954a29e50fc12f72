// Requests to the server, with the token that it may ask for, and another try when it is busy.
"use strict";

const TOKEN = "sedkit-token", MOST_TRIES = 60;

sedkit.token = () => sessionStorage.getItem(TOKEN) || "";

// Ask for the token; false if the person gives none. Requests that need it at the same time ask once.
sedkit.askForToken = function () {
  sedkit.asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog"), input = document.getElementById("token");
    input.value = "";
    dialog.returnValue = "";
    dialog.onclose = () => {
      const given = dialog.returnValue === "ok" ? input.value.trim() : "";
      if (given) sessionStorage.setItem(TOKEN, given);
      sedkit.asking = null;
      resolve(Boolean(given));
    };
    dialog.showModal();
  });
  return sedkit.asking;
};

sedkit.sendOnce = (path, body, { progress = () => {}, signal, type = "application/octet-stream" } = {}) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  request.open(body === null ? "GET" : "POST", path);
  if (sedkit.token()) request.setRequestHeader("Authorization", `Bearer ${sedkit.token()}`);
  if (body !== null) request.setRequestHeader("Content-Type", type);
  request.responseType = "blob";
  request.upload.addEventListener("progress", (event) => progress(event.lengthComputable ? event.loaded / event.total : null));
  request.upload.addEventListener("load", () => progress(null));
  request.addEventListener("load", () => resolve(request));
  request.addEventListener("error", () => reject(new Error("the server does not answer; is it still running?")));
  request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
  signal?.addEventListener("abort", () => request.abort());
  request.send(body);
});

// The answer to a request, as a blob. Throws an error with the server's one line if the request is refused.
sedkit.send = async function (path, body, options = {}) {
  for (let tries = 1; ; tries++) {
    const request = await sedkit.sendOnce(path, body, options);
    if (request.status < 300) return request.response;
    if (request.status === 401 && (await sedkit.askForToken())) continue;
    if (request.status === 429 && tries < MOST_TRIES) {
      const seconds = Number(request.getResponseHeader("Retry-After")) || 2;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds * (0.5 + Math.random())));
      if (options.signal?.aborted) throw new DOMException("cancelled", "AbortError");
      continue;
    }
    let text = `the server answers with ${request.status}`;
    try { text = JSON.parse(await request.response.text()).error; } catch { /* not of sedkit */ }
    throw new Error(text);
  }
};

sedkit.sendForJson = async (path, body, options) => JSON.parse(await (await sedkit.send(path, body, options)).text());

// In the browser's audio thread: the samples of the microphone, in blocks of about 0.1 s, to the page.
"use strict";

const BLOCK = 4096;

registerProcessor("capture", class extends AudioWorkletProcessor {
  constructor() {
    super();
    Object.assign(this, { block: new Float32Array(BLOCK), filled: 0 });
  }

  process([channels]) {
    const length = channels[0]?.length || 0;
    for (let sample = 0; sample < length; sample++) {
      let sum = 0;
      for (const channel of channels) sum += channel[sample];
      this.block[this.filled++] = sum / channels.length;
      if (this.filled < BLOCK) continue;
      this.port.postMessage(this.block, [this.block.buffer]);
      [this.block, this.filled] = [new Float32Array(BLOCK), 0];
    }
    return true;
  }
});

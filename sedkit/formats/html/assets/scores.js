// Events from the scores of segments, by the rules of sedkit/timeline/events.py (docs/timeline.md), for any threshold.
"use strict";

// Tracks of scores. `data` is the page's "tracks" object, `scores` its inflated bytes, [classes, segments].
sedkit.Tracks = class {
  constructor(data, scores, duration) {
    Object.assign(this, data, { duration });
    this.classes = data.classes.map((track, row) => ({
      ...track, scores: scores.subarray(row * data.segments, (row + 1) * data.segments),
    }));
  }

  // Start of the tile of a segment, in seconds; that of the segment after the last is the end of the recording.
  start(segment) {
    if (segment <= 0) return 0;
    return segment >= this.segments ? this.duration : Math.min(this.duration, this.first + this.step * segment);
  }

  segmentAt(time) {
    return Math.max(0, Math.min(this.segments - 1, Math.floor((time - this.first) / this.step + 1e-6)));
  }

  // Events of a class at a threshold: [onset, offset, score], not refined by levels.
  events(track, threshold) {
    const events = [], { scores } = track, enter = threshold * 255 - 1e-9, leave = track.leave && Math.max(1, track.leave * enter);
    const hold = Math.floor(track.hold / this.step + 1e-6);
    for (let first = 0; first < this.segments; first++) {
      if (scores[first] < leave) continue;
      let stop = first;
      while (stop < this.segments && scores[stop] >= leave) stop++;
      for (const group of this.groups(scores, first, stop, enter, hold)) {
        const event = this.event(scores, ...group);
        if (event[2] * 255 >= enter) events.push(event);
      }
      first = stop;
    }
    return this.shape(track, events.filter((event) => !this.explained(track, enter, event)));
  }

  // Whether classes below that of an event explain it, by the rules of sedkit/timeline/parents.py.
  explained(track, enter, [onset, offset]) {
    if (!track.below.length) return false;
    const below = track.below.map((row) => this.classes[row].scores);
    let lit = 0, hidden = 0;
    for (let segment = this.segmentAt(onset), last = this.segmentAt(offset - 1e-6); segment <= last; segment++) {
      const score = track.scores[segment];
      if (score < enter) continue;
      const highest = Math.max(...below.map((scores) => scores[segment]));
      lit++;
      if (highest >= enter && highest >= this.explaining * score) hidden++;
    }
    return hidden > 0 && hidden >= this.explained_share * lit;
  }

  // Join events that are near each other, leave out short ones, then divide long ones.
  shape(track, events) {
    const joined = [];
    for (const event of events) {
      const last = joined.at(-1);
      if (last && event[0] - last[1] <= track.merge_gap + 1e-6) {
        [last[1], last[2]] = [event[1], Math.max(last[2], event[2])];
      } else joined.push(event);
    }
    const lasting = joined.filter(([onset, offset]) => offset - onset >= track.min_duration - 1e-6);
    return lasting.flatMap(([onset, offset, score]) => {
      const parts = Math.max(1, Math.ceil((offset - onset - 1e-6) / track.max_duration)), length = (offset - onset) / parts;
      return Array.from({ length: parts }, (_, part) => [onset + length * part, onset + length * (part + 1), score]);
    });
  }

  // Parts of a run, [first, stop), that are at most `hold` segments away from one that reaches the threshold.
  *groups(scores, first, stop, enter, hold) {
    let begin = -1, end = -1;
    for (let segment = first; segment < stop; segment++) {
      if (scores[segment] < enter) continue;
      const from = Math.max(first, segment - hold), to = Math.min(stop, segment + hold + 1);
      if (begin >= 0 && from > end) { yield [begin, end]; begin = -1; }
      if (begin < 0) begin = from;
      end = to;
    }
    if (begin >= 0) yield [begin, end];
  }

  event(scores, first, stop) {
    const { overlap } = this, top = Array(overlap).fill(0), last = this.segments - 1;
    for (let segment = first; segment < stop; segment++) {
      for (let times = segment === 0 || segment === last ? overlap : 1; times; times--) {
        let score = scores[segment];
        for (let rank = 0; rank < overlap; rank++) if (score > top[rank]) [top[rank], score] = [score, top[rank]];
      }
    }
    if (first > 0 && stop - first > 1 && scores[first] < scores[first + 1]) first++;
    if (stop <= last && stop - first > 1 && scores[stop - 1] <= scores[stop - 2]) stop--;
    return [this.start(first), this.start(stop), top.reduce((sum, score) => sum + score) / (255 * overlap)];
  }

  // The highest score in [start, end) seconds, 0 to 255.
  peak(track, start, end) {
    let highest = 0;
    for (let s = this.segmentAt(start), stop = this.segmentAt(Math.max(start, end - 1e-6)); s <= stop; s++) {
      if (track.scores[s] > highest) highest = track.scores[s];
    }
    return highest;
  }
};

// Move onsets and offsets to those of the analysis, which level changes have refined, where they are near. Both lists
// are of one class, in order.
sedkit.snap = function (events, refined, reach) {
  const nearest = (time, times) => times.reduce((best, t) => (Math.abs(t - time) < Math.abs(best - time) ? t : best), time + 1e9);
  let first = 0;
  for (const event of events) {
    while (first < refined.length && refined[first].offset < event.onset - reach) first++;
    let last = first;
    while (last < refined.length && refined[last].onset <= event.offset + reach) last++;
    const near = refined.slice(first, last);
    const onset = nearest(event.onset, near.map((r) => r.onset)), offset = nearest(event.offset, near.map((r) => r.offset));
    const moved = [Math.abs(onset - event.onset) <= reach ? onset : event.onset, Math.abs(offset - event.offset) <= reach ? offset : event.offset];
    if (moved[1] - moved[0] >= 0.1) [event.onset, event.offset] = moved;
  }
  return events;
};

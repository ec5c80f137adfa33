// The causal past and future of an event, after Lamport (1978): what could have led to it, and
// what it could have led to.
//
// On every lane the past is a beginning and the future an end, so each is one number a lane. Both
// are found by moving these numbers along the lanes and over to others where a message crosses;
// no event is looked at twice.

import { NONE } from "./history.js";

/** What led to event `i` and what it led to: counts, and whose side any event is on. */
export class Cone {
  constructor(history, i) {
    this.history = history;
    this.event = i;
    this.#past = past(history, i);
    this.#future = future(history, i);
    const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
    /** How many other events are in the past, in the future, and in neither. */
    this.before = sum(this.#past) - 1;
    this.after = sum(history.onLane.map((events, l) => events.length - this.#future[l])) - 1;
    this.beside = history.count - 1 - this.before - this.after;
  }

  #past;
  #future;

  /** Whether event `i` is the chosen one or led to it. */
  inPast(i) {
    return this.history.position[i] < this.#past[this.history.lane[i]];
  }

  /** Whether event `i` is the chosen one or followed from it. */
  inFuture(i) {
    return this.history.position[i] >= this.#future[this.history.lane[i]];
  }
}

/** How many events of each lane are in the past of event `i`, itself included. */
function past(history, i) {
  const ends = new Int32Array(history.lanes.length);
  const todo = [i];
  while (todo.length) {
    const last = todo.pop();
    const lane = history.lane[last];
    const known = ends[lane];
    ends[lane] = Math.max(known, history.position[last] + 1);
    for (let place = known; place < ends[lane]; place++) {
      const cause = history.cause[history.onLane[lane][place]];
      if (cause !== NONE) todo.push(cause);
    }
  }
  return ends;
}

/** Where on each lane the future of event `i` begins, itself included. */
function future(history, i) {
  const starts = Int32Array.from(history.onLane, (events) => events.length);
  const todo = [i];
  while (todo.length) {
    const first = todo.pop();
    const lane = history.lane[first];
    const known = starts[lane];
    starts[lane] = Math.min(known, history.position[first]);
    for (let place = starts[lane]; place < known; place++)
      todo.push(...history.arrivals(history.onLane[lane][place]));
  }
  return starts;
}

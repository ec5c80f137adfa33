// The span of time that all drawings of a pattern show together.

const SHORTEST = 2e-5;
const MARGIN = 0.02;

export class Span {
  constructor(end) {
    const margin = Math.max(end * MARGIN, SHORTEST);
    this.least = -margin;
    this.most = end + margin;
    this.from = this.least;
    this.to = this.most;
  }

  #listeners = [];

  get length() {
    return this.to - this.from;
  }

  /** Whether all of the time is shown. */
  get whole() {
    return this.from === this.least && this.to === this.most;
  }

  /** Call this whenever the span has changed. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Show from one time to another, or as near to that as there is time. */
  show(from, to) {
    const length = Math.min(Math.max(to - from, SHORTEST), this.most - this.least);
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(middle - length / 2, this.least), this.most - length);
    this.to = this.from + length;
    for (const listener of this.#listeners) listener();
  }

  showAll() {
    this.show(this.least, this.most);
  }

  /** Show so many times as long a span, with time `at` where it is. */
  zoom(factor, at = (this.from + this.to) / 2) {
    const length = Math.max(this.length * factor, SHORTEST);
    const part = (at - this.from) / this.length;
    this.show(at - part * length, at + (1 - part) * length);
  }

  /** Move on by so many seconds. */
  move(seconds) {
    this.show(this.from + seconds, this.to + seconds);
  }

  /** Move as little as it takes for a time to be seen. */
  reveal(t) {
    if (t < this.from) this.move(t - this.from - this.length * 0.1);
    else if (t > this.to) this.move(t - this.to + this.length * 0.1);
  }
}

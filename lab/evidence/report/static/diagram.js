// The spacetime diagram: a line for each process, a mark for each event, and a stroke for each
// message from its sending to its arrival.
//
// Only what is within the span is drawn. Where there is more of it than anyone could tell apart,
// messages that would cover each other become one stroke, the stronger the more they are, and
// events become a lane's density.

import { Cone } from "./causality.js";
import { NONE } from "./history.js";
import { paintLabels } from "./labels.js";
import { colorOf, marksOf, paintCross, paintMark } from "./marks.js";
import { AXIS, Plot } from "./plot.js";
import { APART, bundled, distance, FUTURE, PAST, separate } from "./strokes.js";
import { colors, FONT, SMALL } from "./theme.js";

/** How high a lane is, where there are at most so many. */
const ROWS = [[4, 60], [8, 46], [16, 34], [30, 24], [Infinity, 16]];
const MANY = 2500;
const NAMED = 120;
const BIN = 2;
const FOOT = 8;
const DIM = 0.12;

export class Diagram extends Plot {
  constructor(history, span) {
    super(history, span, { height: AXIS, label: "Spacetime diagram of the messages" });
    this.marks = marksOf(history);
    this.cone = null;
    this.witnesses = [];
    this.hovered = NONE;
    this.show(new Uint8Array(history.count).fill(1), history.lanes.map((_, lane) => lane));
  }

  /** Show these events (one flag each) on these lanes alone. */
  show(shown, lanes) {
    this.shown = shown;
    this.rows = lanes;
    this.row = ROWS.find(([most]) => lanes.length <= most)[1];
    this.y = new Float64Array(this.history.lanes.length).fill(NaN);
    lanes.forEach((lane, place) => (this.y[lane] = AXIS + (place + 0.5) * this.row));
    this.resize(AXIS + lanes.length * this.row + FOOT);
  }

  /** Tell apart the past and the future of an event; NONE ends that. */
  choose(i) {
    this.cone = i === NONE ? null : new Cone(this.history, i);
    this.refresh();
  }

  /** What is at a place: `{ event }`, `{ message }` (its arrival), or null. */
  pick(x, y, reach = 8) {
    const lane = this.rows[Math.floor((y - AXIS) / this.row)];
    if (lane !== undefined && Math.abs(y - this.y[lane]) <= Math.max(reach, 9)) {
      const event = this.history.nearest(lane, this.t(x), this.shown);
      if (event !== NONE && Math.abs(this.x(this.history.t[event]) - x) <= reach) return { event };
    }
    const message = this.#nearestMessage(x, y, reach * 0.7);
    return message === NONE ? null : { message };
  }

  paint() {
    const { canvas, context } = this;
    context.clearRect(0, 0, this.width, this.height);
    this.paintTimes(this.height - FOOT);
    this.clipped(() => {
      const messages = this.#visibleMessages();
      const lost = this.#visibleLost();
      this.#paintLanes();
      this.#paintMessages(messages);
      this.paintFaults(this.history.faults, (fault) => this.#rowsOf(fault));
      this.#paintFaultNames();
      this.#paintLost(lost);
      canvas.dataset.events = this.#paintEvents();
      canvas.dataset.messages = messages.length;
      canvas.dataset.lost = lost.length;
      this.#paintWitnesses();
      this.#paintPointed();
    });
    paintLabels(this);
    canvas.dataset.lanes = this.rows.length;
    canvas.dataset.past = this.cone?.before ?? "";
    canvas.dataset.future = this.cone?.after ?? "";
  }

  /** On which side of the chosen event another one is. */
  #side(i) {
    if (this.cone.inPast(i)) return PAST;
    return this.cone.inFuture(i) ? FUTURE : APART;
  }

  /** On which side of the chosen event a message is: all of it, from sending to arrival. */
  #sideOf(sending, arrival) {
    if (this.cone.inPast(arrival)) return PAST;
    return this.cone.inFuture(sending) ? FUTURE : APART;
  }

  #isDrawn(i) {
    return this.shown[i] && !Number.isNaN(this.y[this.history.lane[i]]);
  }

  #visibleMessages() {
    const { cause, lane, messages, t } = this.history;
    const { from, to } = this.span;
    return messages.filter((arrival) => {
      const sending = cause[arrival];
      if (t[arrival] < from && t[sending] < from) return false;
      if (t[arrival] > to && t[sending] > to) return false;
      if (!this.shown[arrival] && !this.shown[sending]) return false;
      return this.y[lane[arrival]] + this.y[lane[sending]] > 0;  // NaN if either is hidden
    });
  }

  #visibleLost() {
    const { from, to } = this.span;
    return this.history.lost.filter(({ event }) => {
      const t = this.history.t[event];
      return t >= from && t <= to && this.#isDrawn(event);
    });
  }

  #paintMessages(messages) {
    const { context } = this;
    const lineOf = (arrival) => this.#line(arrival);
    const { cause } = this.history;
    const sideOf = (arrival) => (this.cone ? this.#sideOf(cause[arrival], arrival) : APART);
    const groups = messages.length > MANY
      ? bundled(messages, lineOf, sideOf, this.width)
      : separate(messages, lineOf, sideOf);
    context.lineWidth = 1;
    for (const { side, weight, lines } of groups) {
      context.strokeStyle = [colors.message, colors.past, colors.future][side];
      context.globalAlpha = this.cone && side === APART ? DIM : weight;
      context.beginPath();
      for (const [x1, y1, x2, y2] of lines) {
        context.moveTo(x1, y1);
        context.lineTo(x2, y2);
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  #line(arrival) {
    const { cause, lane, t } = this.history;
    const sending = cause[arrival];
    return [this.x(t[sending]), this.y[lane[sending]], this.x(t[arrival]), this.y[lane[arrival]]];
  }

  /** A stub towards where the message was meant to go, with a cross at its end. */
  #paintLost(lost) {
    const { context } = this;
    const seen = new Set();
    context.lineWidth = 1.25;
    for (const { event, toward } of lost) {
      const x = this.x(this.history.t[event]);
      const y = this.y[this.history.lane[event]];
      const key = Math.floor(x / BIN) * 1e6 + this.history.lane[event] * 1e3 + toward;
      if (seen.has(key)) continue;
      seen.add(key);
      const there = toward === NONE ? NaN : this.y[toward];
      const down = Number.isNaN(there) || there === y ? this.row * 0.4 : (there - y) * 0.42;
      const high = Math.min(Math.abs(down), lost.length > MANY / 10 ? this.row * 0.35 : 60);
      const [endX, endY] = [x + high / 4, y + Math.sign(down) * high];
      context.globalAlpha = this.cone && this.#side(event) === APART ? DIM : 0.9;
      context.strokeStyle = colors.lost;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(endX, endY);
      context.stroke();
      paintCross(context, endX, endY, 3);
    }
    context.globalAlpha = 1;
  }

  /** Draw the events; give how many there are. */
  #paintEvents() {
    const [first, last] = [this.history.at(this.span.from), this.history.at(this.span.to)];
    const events = [];
    for (let i = first; i < last; i++) if (this.#isDrawn(i)) events.push(i);
    if (events.length > MANY) this.#paintDensity(events);
    else this.#paintMarks(events);
    return events.length;
  }

  #paintMarks(events) {
    const { context, history } = this;
    const r = events.length > 700 ? 2.2 : 3.2;
    const taken = new Float64Array(history.lanes.length).fill(-Infinity);
    for (const i of events) {
      const x = this.x(history.t[i]);
      const y = this.y[history.lane[i]];
      const side = this.cone ? this.#side(i) : APART;
      const plain = colorOf(this.marks[i]);
      context.globalAlpha = this.cone && side === APART ? DIM * 2 : 1;
      paintMark(context, this.marks[i], x, y, r, [plain, colors.past, colors.future][side]);
      if (events.length <= NAMED && this.row >= 24 && x > taken[history.lane[i]]) {
        context.font = SMALL;
        context.fillStyle = colors.muted;
        context.fillText(history.nameOf(i), x + 4, y - 10);
        taken[history.lane[i]] = x + context.measureText(history.nameOf(i)).width + 8;
      }
    }
    context.globalAlpha = 1;
  }

  #paintDensity(events) {
    const { context, history } = this;
    const columns = Math.ceil(this.width);
    const counts = new Map();
    for (const i of events) {
      const key = history.lane[i] * columns + Math.floor(this.x(history.t[i]));
      const bin = counts.get(key);
      const side = this.cone ? this.#side(i) : APART;
      if (!bin) counts.set(key, { count: 1, side });
      else {
        bin.count++;
        bin.side ||= side;
      }
    }
    for (const [key, { count, side }] of counts) {
      const y = this.y[Math.floor(key / columns)];
      const high = Math.min(3 + 3 * Math.log2(count), this.row * 0.6);
      context.fillStyle = [colors.ink, colors.past, colors.future][side];
      context.globalAlpha = this.cone && side === APART ? DIM : 0.75;
      context.fillRect(key % columns, y - high / 2, 1, high);
    }
    context.globalAlpha = 1;
  }

  #paintLanes() {
    const { context } = this;
    context.fillStyle = colors.muted;
    context.globalAlpha = 0.5;
    const wide = this.right - this.left;
    for (const lane of this.rows) context.fillRect(this.left, this.y[lane] - 0.5, wide, 1);
    context.globalAlpha = 1;
  }

  /** Where a fault's band is drawn: the lanes that it hit, those next to each other as one. */
  #rowsOf(fault) {
    const bands = [];
    this.rows.forEach((lane, place) => {
      if (!fault.lanes.includes(lane)) return;
      const [top, bottom] = [AXIS + place * this.row, AXIS + (place + 1) * this.row];
      if (bands.length && bands.at(-1)[1] === top) bands.at(-1)[1] = bottom;
      else bands.push([top, bottom]);
    });
    return bands;
  }

  #paintFaultNames() {
    const { context } = this;
    context.font = SMALL;
    const taken = new Map();
    for (const fault of this.history.faults) {
      const [band] = this.#rowsOf(fault);
      const x = Math.max(this.x(fault.since), this.left) + 4;
      const end = Math.min(fault.until === null ? Infinity : this.x(fault.until), this.right);
      const wide = context.measureText(fault.kind).width;
      const over = fault.until === null && fault.since < this.span.from;
      if (!band || over || x < taken.get(band[0]) || x + wide > end) continue;
      context.fillStyle = colors.paper;
      context.fillRect(x - 2, band[0] + 1, wide + 4, 13);
      context.fillStyle = fault.until === null ? colors.moment : colors.faultInk;
      context.fillText(fault.kind, x, band[0] + 8);
      taken.set(band[0], x + wide + 6);
    }
    context.font = FONT;
  }

  #paintWitnesses() {
    const { context } = this;
    context.strokeStyle = colors.witness;
    context.lineWidth = 2.5;
    for (const i of this.witnesses) {
      if (!this.#isDrawn(i)) continue;
      context.beginPath();
      context.arc(this.x(this.history.t[i]), this.y[this.history.lane[i]], 8, 0, 7);
      context.stroke();
    }
  }

  #paintPointed() {
    const { context } = this;
    for (const i of [this.hovered, this.cone?.event ?? NONE]) {
      if (i === NONE || !this.#isDrawn(i)) continue;
      context.strokeStyle = colors.ink;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(this.x(this.history.t[i]), this.y[this.history.lane[i]], 6, 0, 7);
      context.stroke();
    }
  }

  #nearestMessage(x, y, reach) {
    let [best, least] = [NONE, reach];
    for (const arrival of this.#visibleMessages()) {
      const away = distance(x, y, this.#line(arrival));
      if (away < least) [best, least] = [arrival, away];
    }
    return best;
  }
}

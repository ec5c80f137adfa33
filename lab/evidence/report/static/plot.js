// A canvas whose width is time: what the diagram and the charts have in common.

import { atTime, clock, multiples, roundStep } from "./scale.js";
import { colors, FONT, onTheme, SMALL } from "./theme.js";

export const AXIS = 22;
const RIGHT = 10;

/** The room left of all plots, for their labels, so that their times stand one above the other. */
export function gutter(width) {
  return width < 600 ? 86 : 150;
}

export class Plot {
  /** `label` tells what is drawn to who cannot see it. */
  constructor(history, span, { height, label, top = AXIS }) {
    this.history = history;
    this.span = span;
    this.top = top;
    this.united = united(history.faults);
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.context = this.canvas.getContext("2d");
    this.resize(height);
    span.onChange(() => this.refresh());
    onTheme(() => this.draw());
    new ResizeObserver(() => this.refresh()).observe(this.canvas);
  }

  #pending = 0;

  /** Be so high. */
  resize(height) {
    this.height = height;
    this.canvas.style.height = `${height}px`;
    this.refresh();
  }

  /** Draw again before the next frame. */
  refresh() {
    this.#pending ||= requestAnimationFrame(() => this.draw());
  }

  /** Draw now. */
  draw() {
    cancelAnimationFrame(this.#pending);
    this.#pending = 0;
    const ratio = devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    if (!this.width) return;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.left = gutter(this.width);
    this.right = this.width - RIGHT;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.font = FONT;
    this.context.textBaseline = "middle";
    this.paint();
  }

  x(t) {
    return this.left + ((t - this.span.from) / this.span.length) * (this.right - this.left);
  }

  t(x) {
    return this.span.from + ((x - this.left) / (this.right - this.left)) * this.span.length;
  }

  /** Let `paint` draw within the time that is shown, and not beside it. */
  clipped(paint) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(this.left, 0, this.right - this.left + RIGHT, this.height);
    this.context.clip();
    paint();
    this.context.restore();
  }

  /** Draw the times along the top, each with a line down to the bottom. */
  paintTimes(bottom = this.height) {
    const { context } = this;
    const step = roundStep((this.span.length / (this.right - this.left)) * 95);
    context.font = SMALL;
    context.textAlign = "center";
    for (const t of multiples(step, this.span.from, this.span.to)) {
      const x = Math.round(this.x(t)) + 0.5;
      context.fillStyle = colors.line;
      context.fillRect(x - 0.5, this.top - 4, 1, bottom - this.top + 4);
      context.fillStyle = colors.muted;
      if (x < this.right - 20) context.fillText(atTime(t, step), x, this.top - 12);
    }
    context.textAlign = "left";
    context.fillText(clock(this.history.began, this.span.from).slice(0, 8), 0, this.top - 12);
    context.font = FONT;
  }

  /** Draw faults: a hatched band while one lasts, a dashed line where it was over at once. */
  paintFaults(faults = this.united, rows = () => [[this.top, this.height]]) {
    for (const fault of faults) {
      const from = Math.max(this.x(fault.since), this.left - 2);
      const to = Math.min(fault.until === null ? from : this.x(fault.until), this.right + RIGHT);
      if (to < this.left - 1 || from > this.right) continue;
      for (const [top, bottom] of rows(fault)) {
        if (fault.until === null) this.#paintMoment(from, top, bottom);
        else this.#paintBand(from, Math.max(to, from + 2), top, bottom);
      }
    }
  }

  #paintBand(from, to, top, bottom) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(from, top, to - from, bottom - top);
    context.clip();
    context.fillStyle = colors.fault;
    context.globalAlpha = 0.16;
    context.fill();
    context.globalAlpha = 0.4;
    context.strokeStyle = colors.fault;
    context.beginPath();
    const high = bottom - top;
    const start = from - ((from + high) % 9);
    for (let x = start - high; x < to; x += 9) {
      context.moveTo(x, bottom);
      context.lineTo(x + high, top);
    }
    context.stroke();
    context.globalAlpha = 0.9;
    context.strokeRect(from, top - 1, to - from, bottom - top + 2);
    context.restore();
  }

  #paintMoment(x, top, bottom) {
    const { context } = this;
    context.save();
    context.strokeStyle = colors.moment;
    context.lineWidth = 2;
    context.setLineDash([5, 3]);
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, bottom);
    context.stroke();
    context.restore();
  }
}

/** Faults with those that overlap as one: whether there was any, where it does not matter which. */
function united(faults) {
  const whole = [];
  for (const { since, until } of faults) {
    const last = whole.findLast((other) => other.until !== null);
    if (until !== null && last && since < last.until) last.until = Math.max(last.until, until);
    else whole.push({ since, until });
  }
  return whole;
}

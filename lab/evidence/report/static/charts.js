// Latency and rate of the clients' operations over time, by outcome.

import { NONE, OUTCOMES } from "./history.js";
import { paintMark } from "./marks.js";
import { AXIS, Plot } from "./plot.js";
import { decades, duration, largest, multiples, number, roundStep } from "./scale.js";
import { colors, SMALL } from "./theme.js";

const FOOT = 8;
const SHORTEST = 1e-5;
const MARK = 3;
const DASHES = [[], [6, 3], [2, 3]];

/** When each operation began, how long it took, and how it ended. */
export function operationsOf(history) {
  return history.operations.map(({ invoke, end, outcome }) => ({
    invoke,
    end,
    outcome,
    f: history.fields(invoke).find(([name]) => name === "f")?.[1] ?? "",
    t: history.t[invoke],
    seconds: (end === NONE ? history.end : history.t[end]) - history.t[invoke],
  }));
}

/** Each operation as a mark: when it began, and how long it took. */
export class Latency extends Plot {
  constructor(history, span, operations) {
    super(history, span, { height: 200, label: "Latency of operations over time, by outcome" });
    this.operations = operations;
    const seconds = operations.map((operation) => Math.max(operation.seconds, SHORTEST));
    const least = seconds.reduce((a, b) => Math.min(a, b), Infinity);
    this.decades = decades(least, largest(seconds, SHORTEST));
  }

  y(seconds) {
    const [low, high] = [this.decades[0], this.decades.at(-1)];
    const part = Math.log(Math.max(seconds, SHORTEST) / low) / Math.log(high / low);
    return this.height - FOOT - part * (this.height - AXIS - FOOT);
  }

  paint() {
    this.context.clearRect(0, 0, this.width, this.height);
    paintLevels(this, this.decades, duration);
    this.paintTimes(this.height - FOOT);
    this.clipped(() => {
      this.paintFaults();
      const visible = this.operations.filter(({ t }) => t >= this.span.from && t <= this.span.to);
      this.canvas.dataset.operations = visible.length;
      OUTCOMES.forEach((_, outcome) => this.#paintOutcome(visible, outcome));
    });
  }

  /** The operation at a place, or undefined. */
  pick(x, y) {
    let [best, least] = [undefined, 9];
    for (const operation of this.operations) {
      const away = Math.hypot(this.x(operation.t) - x, this.y(operation.seconds) - y);
      if (away < least) [best, least] = [operation, away];
    }
    return best;
  }

  /** Draw those of one outcome; what would cover another one of them is left out. */
  #paintOutcome(operations, outcome) {
    const { context } = this;
    const color = [colors.ok, colors.fail, colors.unknown][outcome];
    const seen = new Uint8Array(Math.ceil(this.width) * this.height);
    context.globalAlpha = outcome ? 1 : 0.75;
    for (const operation of operations) {
      if (operation.outcome !== outcome) continue;
      const x = this.x(operation.t);
      const y = this.y(operation.seconds);
      const pixel = Math.floor(y) * Math.ceil(this.width) + Math.floor(x);
      if (seen[pixel]) continue;
      seen[pixel] = 1;
      paintMark(context, 3 + outcome, x, y, outcome ? MARK : 1.6, color);
    }
    context.globalAlpha = 1;
  }
}

/** How many operations ended in a second, as a line for each outcome. */
export class Rate extends Plot {
  constructor(history, span, operations) {
    super(history, span, { height: 130, label: "Rate of operations over time, by outcome" });
    this.ends = OUTCOMES.map((_, outcome) =>
      Float64Array.from(
        operations.filter((operation) => operation.outcome === outcome && operation.end !== NONE),
        (operation) => history.t[operation.end],
      ),
    );
  }

  paint() {
    const step = roundStep((this.span.length / (this.right - this.left)) * 8);
    const first = Math.floor(this.span.from / step);
    const bins = Math.ceil(this.span.length / step) + 2;
    const rates = this.ends.map((ends) => {
      const counts = new Float64Array(bins);
      for (const t of ends) {
        const bin = Math.floor(t / step) - first;
        if (bin >= 0 && bin < bins) counts[bin]++;
      }
      return counts.map((count) => count / step);
    });
    const most = largest(rates.map((counts) => largest(counts, 0)), 1e-9);
    const tick = roundStep(most / 3);
    this.top = AXIS;
    this.most = Math.ceil(most / tick) * tick;
    this.context.clearRect(0, 0, this.width, this.height);
    paintLevels(this, multiples(tick, 0, this.most), (rate) => `${number(rate)}/s`);
    this.paintTimes(this.height - FOOT);
    this.clipped(() => {
      this.paintFaults();
      rates.forEach((counts, outcome) => this.#paintLine(counts, outcome, first, step));
    });
  }

  y(rate) {
    return this.height - FOOT - (rate / this.most) * (this.height - AXIS - FOOT);
  }

  #paintLine(counts, outcome, first, step) {
    if (!counts.some((count) => count)) return;
    const { context } = this;
    context.strokeStyle = [colors.ok, colors.fail, colors.unknown][outcome];
    context.lineWidth = 1.75;
    context.setLineDash(DASHES[outcome]);
    context.beginPath();
    counts.forEach((rate, bin) => {
      const y = this.y(rate);
      context.lineTo(this.x((first + bin) * step), y);
      context.lineTo(this.x((first + bin + 1) * step), y);
    });
    context.stroke();
    context.setLineDash([]);
  }
}

/** Draw lines at some heights, with what they mean in the gutter. */
function paintLevels(plot, levels, told) {
  const { context } = plot;
  context.font = SMALL;
  context.textAlign = "right";
  for (const level of levels) {
    const y = Math.round(plot.y(level)) + 0.5;
    context.fillStyle = colors.line;
    context.fillRect(plot.left, y - 0.5, plot.right - plot.left, 1);
    context.fillStyle = colors.muted;
    context.fillText(told(level), plot.left - 6, y);
  }
  context.textAlign = "left";
}

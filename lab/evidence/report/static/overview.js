// The whole time in a strip: how much happened when, the faults, and the span that is shown.

import { Plot } from "./plot.js";
import { largest } from "./scale.js";
import { Span } from "./span.js";
import { colors } from "./theme.js";

const HEIGHT = 44;
const TOP = 4;

export class Overview extends Plot {
  /** `shown` is the span of the other drawings. */
  constructor(history, shown) {
    super(history, new Span(history.end), { height: HEIGHT, label: "The whole time", top: TOP });
    this.shown = shown;
    shown.onChange(() => this.refresh());
    this.#listen();
  }

  paint() {
    const { context, history } = this;
    context.clearRect(0, 0, this.width, this.height);
    this.clipped(() => {
      this.paintFaults();
      this.#paintDensity(history.t, colors.message, 1);
      this.#paintDensity(history.lost.map(({ event }) => history.t[event]), colors.lost, 0.45);
      this.#paintShown();
    });
    context.fillStyle = colors.muted;
    context.fillText("all of it", 0, this.height / 2);
  }

  /** How many there were at each time, as bars; the highest takes a part of the height. */
  #paintDensity(times, color, part) {
    const { context } = this;
    const counts = new Float64Array(Math.ceil(this.width / 2) + 1);
    for (const t of times) counts[Math.floor(this.x(t) / 2)]++;
    const most = largest(counts, 1);
    context.fillStyle = color;
    counts.forEach((count, place) => {
      if (!count) return;
      const high = Math.max(1.5, Math.sqrt(count / most) * part * (this.height - TOP));
      context.fillRect(place * 2, this.height - high, 2, high);
    });
  }

  #paintShown() {
    const { context } = this;
    const from = this.x(this.shown.from);
    const to = Math.max(this.x(this.shown.to), from + 3);
    context.globalAlpha = 0.65;
    context.fillStyle = colors.paper;
    context.fillRect(this.left, 0, from - this.left, this.height);
    context.fillRect(to, 0, this.right - to, this.height);
    context.globalAlpha = 1;
    context.strokeStyle = colors.ink;
    context.lineWidth = 1.5;
    context.strokeRect(from, 1, to - from, this.height - 2);
  }

  /** Dragging the frame moves it; dragging beside it draws a new one. */
  #listen() {
    const { canvas, shown } = this;
    let drag = null;
    const at = (event) => this.t(event.clientX - canvas.getBoundingClientRect().left);
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      const t = at(event);
      const inside = !shown.whole && t > shown.from && t < shown.to;
      drag = { from: t, grip: inside ? t - shown.from : null };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const t = at(event);
      if (drag.grip !== null) shown.show(t - drag.grip, t - drag.grip + shown.length);
      else if (Math.abs(this.x(t) - this.x(drag.from)) > 4)
        shown.show(Math.min(t, drag.from), Math.max(t, drag.from));
    });
    const end = () => (drag = null);
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("dblclick", () => shown.showAll());
  }
}

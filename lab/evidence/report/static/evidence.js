// One pattern's evidence: its drawings, and what people do with them.

import { Latency, Rate, operationsOf } from "./charts.js";
import { hint, whole } from "./content.js";
import { Diagram } from "./diagram.js";
import { later, make } from "./dom.js";
import { Filters } from "./filters.js";
import { attach, keyed } from "./gestures.js";
import { NONE } from "./history.js";
import { Overview } from "./overview.js";
import { quantileRows, quantileTable } from "./quantiles.js";
import { number } from "./scale.js";
import { Span } from "./span.js";

const HELP = "Drag to move, Ctrl+wheel or pinch to zoom, click an event for its causal past and "
  + "future. Keys: arrows, + and −, 0 for all, n and p for the next and the previous event, Esc.";

export class Evidence {
  /** Fill a section's element with a history's drawings. */
  constructor(element, history) {
    this.history = history;
    this.span = new Span(history.end);
    this.diagram = new Diagram(history, this.span);
    this.filters = new Filters(history, (shown, lanes) => this.diagram.show(shown, lanes));
    this.tip = make("div", { class: "tip", role: "tooltip", hidden: true });
    this.panel = make("aside", { class: "chosen", "aria-live": "polite", hidden: true });
    element.replaceChildren(
      make("h3", {}, "Messages"),
      make("div", { class: "toolbar" }, this.filters.element, this.#zooms(), this.filters.status),
      new Overview(history, this.span).canvas,
      this.#legend(),
      this.diagram.canvas,
      this.panel,
      this.tip,
    );
    this.#listen();
    if (history.operations.length) element.append(...this.#charts());
  }

  /** Choose an event: its past and future stand out, and the panel tells of it. */
  choose(i) {
    this.diagram.choose(i);
    this.panel.hidden = i === NONE;
    if (i === NONE) return;
    const close = pressed("✕", "close", () => this.choose(NONE));
    close.classList.add("close");
    this.panel.replaceChildren(close, ...whole(this.history, this.diagram.cone));
    this.span.reveal(this.history.t[i]);
  }

  /** Show the events that witness a verdict. */
  witness(events) {
    this.diagram.witnesses = events;
    const times = events.map((i) => this.history.t[i]);
    const [from, to] = [Math.min(...times), Math.max(...times)];
    const margin = Math.max((to - from) * 0.2, 0.01);
    this.choose(NONE);
    this.span.show(from - margin, to + margin);
    this.diagram.canvas.scrollIntoView({ block: "center" });
    this.diagram.canvas.focus({ preventScroll: true });
  }

  #zooms() {
    return make("div", { class: "zooms" },
      pressed("−", "zoom out", () => this.span.zoom(2)),
      pressed("+", "zoom in", () => this.span.zoom(0.5)),
      pressed("all", "show all of the time", () => this.span.showAll()));
  }

  #legend() {
    const sign = (kind, text, meaning) =>
      make("span", {}, make("b", { class: kind }, text), ` ${meaning}`);
    const { lost, faults } = this.history;
    const missed = `no arrival known (${number(lost.length)})`;
    return make("p", { class: "legend" },
      sign("", "●", "sent"), sign("", "○", "arrived"), sign("local", "◆", "other event"),
      ...(lost.length ? [sign("lost", "╲✕", missed)] : []),
      ...(faults.length ? [sign("fault", "▨", "fault")] : []),
      ...(faults.length ? [sign("moment", "┆", "kill, reset")] : []),
      make("span", { class: "help", title: HELP, tabindex: "0" }, "how to use it ",
        make("span", { class: "help-text" }, HELP)));
  }

  #charts() {
    const operations = operationsOf(this.history);
    const latency = new Latency(this.history, this.span, operations);
    const rate = new Rate(this.history, this.span, operations);
    const { table, body } = quantileTable();
    const fill = () => body.replaceChildren(...quantileRows(
      operations.filter(({ t }) => t >= this.span.from && t <= this.span.to)));
    fill();
    this.span.onChange(later(fill, 120));
    attach(latency, (x, y) => {
      const operation = latency.pick(x, y);
      if (operation) this.choose(operation.end === NONE ? operation.invoke : operation.end);
    });
    attach(rate, () => {});
    const sign = (name, text) => make("span", {}, make("b", { class: name }, text), ` ${name}`);
    return [
      make("h3", {}, "Latency"),
      make("p", { class: "legend" }, sign("ok", "■"), sign("fail", "✕"), sign("unknown", "▲"),
        make("span", { class: "muted" }, "each operation at its beginning; logarithmic")),
      latency.canvas,
      make("h3", {}, "Rate"),
      rate.canvas,
      make("div", { class: "scroll" }, table),
    ];
  }

  #listen() {
    const { canvas } = this.diagram;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Spacetime diagram. ${HELP}`);
    attach(this.diagram, (x, y, touched) => {
      const found = this.diagram.pick(x, y, touched ? 18 : 8);
      this.#hover(null);
      this.choose(found?.event ?? found?.message ?? NONE);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || event.buttons) return this.#hover(null);
      const box = canvas.getBoundingClientRect();
      this.#hover(this.diagram.pick(event.clientX - box.left, event.clientY - box.top), event);
    });
    canvas.addEventListener("pointerleave", () => this.#hover(null));
    canvas.addEventListener("keydown", (event) => {
      if (keyed(this.span, event) || this.#stepped(event)) event.preventDefault();
    });
  }

  #hover(found, event) {
    this.tip.hidden = !found;
    const hovered = found?.event ?? NONE;
    if (hovered !== this.diagram.hovered) {
      this.diagram.hovered = hovered;
      this.diagram.refresh();
    }
    this.diagram.canvas.style.cursor = found ? "pointer" : "";
    if (!found) return;
    this.tip.replaceChildren(...hint(this.history, found));
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    this.tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - wide - 12))}px`;
    const [above, below] = [event.clientY - high - 12, event.clientY + 18];
    this.tip.style.top = `${below + high > innerHeight ? Math.max(8, above) : below}px`;
  }

  /** Step from event to event with keys; whether the key was one of these. */
  #stepped(event) {
    const { diagram, history } = this;
    const chosen = diagram.cone?.event ?? NONE;
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "Escape") {
      diagram.witnesses = [];
      this.choose(NONE);
      return true;
    }
    const step = { n: 1, p: -1 }[event.key];
    const over = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step && !over) return false;
    if (chosen === NONE) {
      const [lane] = diagram.rows;
      if (lane !== undefined) this.#chooseIf(history.nearest(lane, this.span.from, diagram.shown));
    } else if (step) {
      const events = history.onLane[history.lane[chosen]];
      let place = history.position[chosen] + step;
      while (place >= 0 && place < events.length && !diagram.shown[events[place]]) place += step;
      this.#chooseIf(events[place]);
    } else {
      const lane = diagram.rows[diagram.rows.indexOf(history.lane[chosen]) + over];
      if (lane === undefined) return true;
      this.#chooseIf(history.nearest(lane, history.t[chosen], diagram.shown));
    }
    return true;
  }

  #chooseIf(i) {
    if (i !== undefined && i !== NONE) this.choose(i);
  }
}

/** A button, and what it is for. */
function pressed(text, label, click) {
  return make("button", { type: "button", "aria-label": label, title: label, click }, text);
}

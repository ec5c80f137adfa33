// How long the operations took that began within the span: a table by kind and outcome.

import { make } from "./dom.js";
import { OUTCOMES } from "./history.js";
import { duration, number } from "./scale.js";

const SIGNS = ["■", "✕", "▲"];
const CUTS = [0.5, 0.9, 0.99, 1];

/** Give the table's rows for these operations. */
export function quantileRows(operations) {
  const groups = new Map();
  for (const { f, outcome, seconds } of operations) {
    const key = `${outcome}${f}`;
    if (!groups.has(key)) groups.set(key, { f, outcome, all: [] });
    groups.get(key).all.push(seconds);
  }
  const sorted = [...groups.values()];
  sorted.sort((a, b) => a.f.localeCompare(b.f) || a.outcome - b.outcome);
  return sorted.map(({ f, outcome, all }) => {
    all.sort((a, b) => a - b);
    const cells = CUTS.map((cut) => all[Math.max(0, Math.ceil(cut * all.length) - 1)]);
    return make("tr", {},
      make("td", {}, f),
      make("td", { class: OUTCOMES[outcome] }, `${SIGNS[outcome]} ${OUTCOMES[outcome]}`),
      make("td", { class: "number" }, number(all.length)),
      ...cells.map((seconds) => make("td", { class: "number" }, duration(seconds))));
  });
}

/** Give an empty table of them, and its body. */
export function quantileTable() {
  const body = make("tbody");
  const heads = ["operation", "outcome", "count", "p50", "p90", "p99", "max"];
  const head = make("tr", {}, ...heads.map((text) => make("th", {}, text)));
  const caption = make("caption", {}, "Latency of the operations that began in the time shown");
  const table = make("table", { class: "quantiles" }, caption, make("thead", {}, head), body);
  return { body, table };
}

// What is to be read of an event: on hover in short, in the panel in full.

import { make } from "./dom.js";
import { NONE } from "./history.js";
import { atTime, clock, duration, number } from "./scale.js";

const SHORT = 160;

function titled(history, i) {
  const { node, component } = history.lanes[history.lane[i]];
  return make("p", { class: "title" }, make("b", {}, history.nameOf(i)), ` ${node} ${component} `,
    make("span", { class: "muted" }, atTime(history.t[i])));
}

function listed(history, i, most = Infinity) {
  const rows = history.fields(i).flatMap(([name, value]) => {
    const text = value.length > most ? `${value.slice(0, most)}…` : value;
    return [make("dt", {}, name), make("dd", {}, text)];
  });
  return make("dl", { class: "fields" }, ...rows);
}

/** A message: what was sent, and how long it was on its way. */
function messageTold(history, arrival) {
  const sending = history.cause[arrival];
  const [from, to] = [sending, arrival].map((i) => history.lanes[history.lane[i]].node);
  const way = duration(history.t[arrival] - history.t[sending]);
  const title = [make("b", {}, `${from} → ${to}`), ` ${way} on its way, by the hosts' clocks`];
  return [
    make("p", { class: "title" }, ...title),
    listed(history, arrival, SHORT),
  ];
}

/** The short text of what the pointer is at; see `Diagram.pick`. */
export function hint(history, { event = NONE, message = NONE }) {
  if (message !== NONE) return messageTold(history, message);
  return [titled(history, event), listed(history, event, SHORT)];
}

/** The whole text of a chosen event, and its place in causality. */
export function whole(history, cone) {
  const i = cone.event;
  const cause = history.cause[i];
  const lines = [];
  if (cause !== NONE) {
    const ago = duration(history.t[i] - history.t[cause]);
    lines.push(`follows ${history.nameOf(cause)} of ${ago} before`);
  }
  const arrived = [...history.arrivals(i)].map((a) => history.lanes[history.lane[a]].node);
  if (arrived.length) lines.push(`arrived at ${arrived.join(", ")}`);
  if (history.lost.some(({ event }) => event === i)) lines.push("no arrival of it is known");
  return [
    titled(history, i),
    make("p", { class: "cone" },
      make("span", { class: "past" }, `◀ ${number(cone.before)} events led to it`),
      make("span", { class: "future" }, `▶ it led to ${number(cone.after)}`),
      make("span", { class: "muted" }, `${number(cone.beside)} are concurrent`)),
    make("p", { class: "muted" }, [clock(history.began, history.t[i]), ...lines].join(" · ")),
    listed(history, i),
  ];
}

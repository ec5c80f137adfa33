// Which events are shown: by host, by name, by text.

import { later, make } from "./dom.js";
import { number } from "./scale.js";

export class Filters {
  /** `changed(shown, lanes)` hears which events (a flag each) and lanes are to be shown. */
  constructor(history, changed) {
    this.history = history;
    this.hosts = new Set(history.lanes.map((lane) => lane.host));
    this.names = new Set(history.names);
    this.text = "";
    this.#changed = changed;
    const text = make("input", {
      type: "search",
      placeholder: "text in an event",
      "aria-label": "Text in an event",
      spellcheck: "false",
    });
    const search = later(() => {
      this.text = text.value.toLowerCase();
      this.apply();
    }, 150);
    text.addEventListener("input", search);
    this.status = make("output", { class: "status" });
    this.element = make("div", { class: "filters" },
      this.#choice("hosts", [...this.hosts].map((host) => [host, host]), this.hosts),
      this.#choice("events", counted(history), this.names),
      text);
    this.#describe(history.count);
  }

  #changed;

  apply() {
    const { history, text } = this;
    const named = history.names.map((name) => this.names.has(name));
    const placed = history.lanes.map((lane) => this.hosts.has(lane.host));
    const shown = new Uint8Array(history.count);
    let count = 0;
    for (let i = 0; i < history.count; i++) {
      if (!named[history.name[i]] || !placed[history.lane[i]]) continue;
      if (text && !history.contains(i, text)) continue;
      shown[i] = 1;
      count++;
    }
    this.#describe(count);
    this.#changed(shown, placed.flatMap((there, lane) => (there ? [lane] : [])));
  }

  #describe(count) {
    const all = this.history.count;
    this.status.value = `${count === all ? "" : `${number(count)} of `}${number(all)} events`;
  }

  /** A list of boxes to tick, behind a button. */
  #choice(title, options, chosen) {
    const boxes = options.map(([value, label]) => {
      const box = make("input", { type: "checkbox", checked: true, value, change: () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        this.apply();
      } });
      return { box, row: make("label", {}, box, ` ${label}`) };
    });
    const all = (checked) => () => {
      for (const { box } of boxes) {
        box.checked = checked;
        if (checked) chosen.add(box.value);
        else chosen.delete(box.value);
      }
      this.apply();
    };
    const both = make("p", {},
      make("button", { type: "button", click: all(true) }, "all"),
      make("button", { type: "button", click: all(false) }, "none"));
    const menu = make("details", { class: "choice" }, make("summary", {}, title),
      make("div", {}, both, ...boxes.map(({ row }) => row)));
    const close = () => menu.removeAttribute("open");
    menu.addEventListener("keydown", (event) => event.key === "Escape" && close());
    addEventListener("pointerdown", (event) => menu.contains(event.target) || close());
    return menu;
  }
}

/** The names of events as they are listed: the most frequent first, with how many there are. */
function counted(history) {
  const counts = new Array(history.names.length).fill(0);
  for (const name of history.name) counts[name]++;
  const names = history.names.map((name, i) => ({ name, count: counts[i] }));
  names.sort((a, b) => b.count - a.count);
  return names.map(({ name, count }) => [name, `${name} (${number(count)})`]);
}

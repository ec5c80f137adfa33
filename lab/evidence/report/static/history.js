// A pattern's history, unpacked: one typed array for each thing that all events have.
// The packing is that of columns.py.

export const NONE = -1;

/** The outcomes of operations, the best first. */
export const OUTCOMES = ["ok", "fail", "unknown"];

/** Undo base64 and gzip, and read the JSON within. */
export async function unpack(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new History(await new Response(stream).json());
}

export class History {
  constructor(packed) {
    /** When the first event was, in Unix seconds; all other times are seconds since then. */
    this.began = packed.began;
    this.lanes = packed.lanes.map(([host, node, component]) => ({ host, node, component }));
    this.names = packed.names;
    this.faults = packed.faults;
    this.count = packed.t.length;
    this.lane = Uint16Array.from(packed.lane);
    this.name = Uint16Array.from(packed.name);
    this.t = running(packed.t, 1e-6);
    this.cause = Int32Array.from(packed.cause, (back, i) => (back ? i - back : NONE));
    this.end = this.count ? this.t[this.count - 1] : 0;
    this.#seat();
    this.#link(new Set(packed.sendings));
    /** Sendings without an arrival: event, and the lane that it was meant for. */
    this.lost = packed.lost[0].map((event, i) => ({ event, toward: packed.lost[1][i] }));
    this.#shapes = packed.shapes;
    this.#columns = packed.columns;
    this.#shape = Uint32Array.from(packed.shape);
    this.#row = ranks(this.#shape, packed.shapes.length);
  }

  #shapes;
  #columns;
  #shape;
  #row;
  #next;

  /** What an event is called. */
  nameOf(i) {
    return this.names[this.name[i]];
  }

  /** An event's own fields, as pairs of texts. */
  fields(i) {
    const columns = this.#columns[this.#shape[i]];
    let column = 0;
    return this.#shapes[this.#shape[i]].map((marked) => {
      const name = marked.slice(1);
      if (marked[0] === "=") return [name, columns[column++][this.#row[i]]];
      const inherited = this.fields(this.cause[i]).find(([other]) => other === name);
      return [name, inherited[1]];
    });
  }

  /** Whether an event's name or one of its fields contains the text, which is in lower case. */
  contains(i, text) {
    if (this.nameOf(i).toLowerCase().includes(text)) return true;
    const columns = this.#columns[this.#shape[i]];
    if (columns.some((column) => column[this.#row[i]].toLowerCase().includes(text))) return true;
    const inherits = this.#shapes[this.#shape[i]].length > columns.length;
    return inherits && this.fields(i).some(([, value]) => value.toLowerCase().includes(text));
  }

  /** The arrivals of a message, one after the other. */
  *arrivals(sending) {
    for (let i = this.arrival[sending]; i !== NONE; i = this.#next[i]) yield i;
  }

  /** The first event at or after a time. */
  at(t) {
    let low = 0;
    for (let high = this.count; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.t[middle] < t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The event of a lane, among those in `shown`, that is nearest to a time; or NONE. */
  nearest(lane, t, shown) {
    const events = this.onLane[lane];
    let best = NONE;
    for (let place = first(events, this.t, t), step = -1; step <= 1; step += 2) {
      let k = step < 0 ? place - 1 : place;
      while (k >= 0 && k < events.length && !shown[events[k]]) k += step;
      const i = events[k];
      if (i === undefined) continue;
      if (best === NONE || Math.abs(this.t[i] - t) < Math.abs(this.t[best] - t)) best = i;
    }
    return best;
  }

  /** Give each event its place on its lane, and each lane its events. */
  #seat() {
    this.position = ranks(this.lane, this.lanes.length);
    const sizes = new Int32Array(this.lanes.length);
    for (const lane of this.lane) sizes[lane]++;
    this.onLane = Array.from(sizes, (size) => new Int32Array(size));
    for (let i = 0; i < this.count; i++) this.onLane[this.lane[i]][this.position[i]] = i;
  }

  /** Join arrivals to sendings, and outcomes to operations. */
  #link(sendings) {
    this.arrival = new Int32Array(this.count).fill(NONE);
    this.#next = new Int32Array(this.count).fill(NONE);
    const messages = [];
    this.operations = [];
    const open = new Set();
    const invoke = this.names.indexOf("invoke");
    const outcome = this.names.map((name) => OUTCOMES.indexOf(name));
    for (let i = this.count - 1; i >= 0; i--) {
      const cause = this.cause[i];
      if (cause === NONE) continue;
      if (sendings.has(this.name[cause])) {
        this.#next[i] = this.arrival[cause];
        this.arrival[cause] = i;
        messages.push(i);
      } else {
        open.add(cause);
        this.operations.push({ invoke: cause, end: i, outcome: outcome[this.name[i]] });
      }
    }
    /** The arrivals of all messages, by time. */
    this.messages = Int32Array.from(messages.reverse());
    // What never ended is unknown for as long as the run went on.
    for (let i = 0; i < this.count; i++)
      if (this.name[i] === invoke && !open.has(i))
        this.operations.push({ invoke: i, end: NONE, outcome: 2 });
    this.operations.sort((a, b) => a.invoke - b.invoke);
  }
}

/** Sum up differences, each in units of so many seconds. */
function running(differences, unit) {
  let sum = 0;
  return Float64Array.from(differences, (difference) => (sum += difference) * unit);
}

/** Count, for each element, the equal ones before it. */
function ranks(values, kinds) {
  const seen = new Int32Array(kinds);
  return Int32Array.from(values, (value) => seen[value]++);
}

/** The place of the first of these events at or after a time. */
function first(events, times, t) {
  let low = 0;
  for (let high = events.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (times[events[middle]] < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

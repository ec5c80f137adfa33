// Messages as strokes, in groups that are drawn alike.

export const [APART, PAST, FUTURE] = [0, 1, 2];

const SIDES = [APART, PAST, FUTURE];
const BIN = 2;
const WEIGHTS = [0.3, 0.5, 0.8];
const HIGHEST = 1e4;

/** Every message as a stroke of its own; `lineOf` and `sideOf` tell where and how it stands. */
export function separate(messages, lineOf, sideOf) {
  const groups = SIDES.map((side) => ({ side, weight: 0.8, lines: [] }));
  for (const message of messages) groups[sideOf(message)].lines.push(lineOf(message));
  return groups;
}

/** Messages that would cover each other as one stroke, the stronger the more they are. */
export function bundled(messages, lineOf, sideOf, width) {
  const columns = Math.ceil(width / BIN) + 4;
  const column = (x) => Math.min(Math.max(Math.floor(x / BIN) + 1, 0), columns - 1);
  const bins = new Map();
  for (const message of messages) {
    const line = lineOf(message);
    const [x1, y1, x2, y2] = line;
    const side = sideOf(message);
    const heights = Math.floor(y1) * HIGHEST + Math.floor(y2);
    const key = ((heights * columns + column(x1)) * columns + column(x2)) * 3 + side;
    const bin = bins.get(key);
    if (bin) bin.count++;
    else bins.set(key, { count: 1, side, line });
  }
  const groups = SIDES.flatMap((side) => WEIGHTS.map((weight) => ({ side, weight, lines: [] })));
  for (const { count, side, line } of bins.values())
    groups[side * WEIGHTS.length + (count > 12 ? 2 : count > 2 ? 1 : 0)].lines.push(line);
  return groups;
}

/** How far a point is from a stroke. */
export function distance(x, y, [x1, y1, x2, y2]) {
  const length = (x2 - x1) ** 2 + (y2 - y1) ** 2 || 1;
  const along = Math.min(Math.max(((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length, 0), 1);
  return Math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1));
}

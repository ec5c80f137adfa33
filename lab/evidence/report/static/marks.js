// The signs of events: shape and colour both tell what one is.

import { colors } from "./theme.js";

export const SENT = 0;
export const ARRIVED = 1;
export const LOCAL = 2;
const OUTCOME_MARKS = { ok: 3, fail: 4, unknown: 5 };

/** The mark of each event of a history. */
export function marksOf(history) {
  const named = history.names.map((name) => OUTCOME_MARKS[name] ?? LOCAL);
  const marks = Uint8Array.from(history.name, (name) => named[name]);
  for (const { event } of history.lost) marks[event] = SENT;
  for (const arrival of history.messages) {
    marks[history.cause[arrival]] = SENT;
    marks[arrival] = ARRIVED;
  }
  history.names.forEach((name, number) => {
    if (name !== "recv") return;
    for (let i = 0; i < history.count; i++) if (history.name[i] === number) marks[i] = ARRIVED;
  });
  return marks;
}

/** The colour of a mark, where nothing else is to be told by colour. */
export function colorOf(mark) {
  return [colors.ink, colors.ink, colors.local, colors.ok, colors.fail, colors.unknown][mark];
}

/** Draw a mark: a disc, a ring, a diamond; for outcomes a square, a cross, a triangle. */
export function paintMark(context, mark, x, y, r, color) {
  context.fillStyle = context.strokeStyle = color;
  context.lineWidth = 1.5;
  context.beginPath();
  switch (mark) {
    case SENT:
      context.arc(x, y, r, 0, 7);
      context.fill();
      break;
    case ARRIVED:
      context.arc(x, y, r - 0.5, 0, 7);
      context.fillStyle = colors.paper;
      context.fill();
      context.stroke();
      break;
    case 3:
      context.fillRect(x - r, y - r, 2 * r, 2 * r);
      break;
    case 4:
      paintCross(context, x, y, r + 0.5);
      break;
    case 5:
      context.moveTo(x, y - r - 1);
      context.lineTo(x + r + 1, y + r);
      context.lineTo(x - r - 1, y + r);
      context.fill();
      break;
    default:
      context.moveTo(x, y - r - 0.5);
      context.lineTo(x + r + 0.5, y);
      context.lineTo(x, y + r + 0.5);
      context.lineTo(x - r - 0.5, y);
      context.fill();
  }
}

export function paintCross(context, x, y, r) {
  context.beginPath();
  context.moveTo(x - r, y - r);
  context.lineTo(x + r, y + r);
  context.moveTo(x + r, y - r);
  context.lineTo(x - r, y + r);
  context.stroke();
}

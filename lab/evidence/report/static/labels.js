// The names of the lanes, in the gutter left of them.

import { colors, FONT, SMALL } from "./theme.js";

const TWO_LINES = 34;

/** Draw the lanes' names: node and component; a host with more than one is named once. */
export function paintLabels(diagram) {
  const { context, history, row } = diagram;
  const room = diagram.left - 8;
  let above = null;
  for (const lane of diagram.rows) {
    const { node, component, host } = history.lanes[lane];
    const y = diagram.y[lane];
    if (above !== null && host !== above) {
      context.fillStyle = colors.line;
      context.fillRect(0, Math.round(y - row / 2), diagram.right, 1);
    }
    const again = host === above && node === host;
    above = host;
    if (row >= TWO_LINES) {
      if (!again) paintName(context, node, 0, y - 7, room);
      paintComponent(context, component, 0, again ? y : y + 8, room);
    } else {
      const wide = paintName(context, node, 0, y, room / 2);
      paintComponent(context, component, wide + 6, y, room - wide - 6);
    }
  }
  context.font = FONT;
}

/** Draw a node's name; give its width. */
function paintName(context, name, x, y, room) {
  context.font = `600 ${FONT}`;
  context.fillStyle = colors.ink;
  const short = fitted(context, name, room);
  context.fillText(short, x, y);
  return context.measureText(short).width;
}

function paintComponent(context, component, x, y, room) {
  context.font = SMALL;
  context.fillStyle = colors.muted;
  context.fillText(fitted(context, component, room), x, y);
}

/** As much of a text as fits. */
function fitted(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let short = text;
  while (short && context.measureText(`${short}…`).width > room) short = short.slice(0, -1);
  return `${short}…`;
}

// The page's colours, as page.css has them, for the drawings.

const NAMES = [
  "paper", "ink", "muted", "line", "message", "ok", "fail", "unknown", "fault", "moment",
  "faultInk", "lost", "past", "future", "witness", "local",
];

const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = [];

export const colors = {};
export const FONT = "12px system-ui, sans-serif";
export const SMALL = "11px system-ui, sans-serif";

function read() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) colors[name] = style.getPropertyValue(`--${name}`).trim();
  for (const listener of listeners) listener();
}

/** Call this whenever the colours have changed: the reader's scheme, or paper. */
export function onTheme(listener) {
  listeners.push(listener);
}

/** Draw as on paper, which is white, while the page is printed. */
function print(printing) {
  document.documentElement.classList.toggle("paper", printing);
  for (const closed of document.querySelectorAll("details.verdict:not([open])"))
    if (printing) closed.setAttribute("open", "");
  read();
}

dark.addEventListener("change", read);
addEventListener("beforeprint", () => print(true));
addEventListener("afterprint", () => print(false));
read();

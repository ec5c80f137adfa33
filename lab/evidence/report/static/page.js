// The page: unpack each pattern's history, draw it, and let verdicts point into it.

import { make } from "./dom.js";
import { Evidence } from "./evidence.js";
import { unpack } from "./history.js";

const evidence = new Map();

for (const button of document.querySelectorAll("[data-copy]"))
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "copied";
    } catch {  // not allowed here, or no clipboard
      getSelection().selectAllChildren(button.previousElementSibling);
      button.textContent = "selected";
    }
  });

for (const button of document.querySelectorAll("[data-show]"))
  button.addEventListener("click", () =>
    evidence.get(button.dataset.pattern)?.witness(button.dataset.show.split(" ").map(Number)));

for (const section of document.querySelectorAll("section.pattern")) {
  const packed = section.querySelector("script.history");
  if (!packed) continue;
  const place = section.querySelector(".evidence");
  try {
    evidence.set(section.id, new Evidence(place, await unpack(packed.textContent)));
    packed.remove();
  } catch (error) {
    const told = `This history cannot be drawn: ${error}`;
    place.replaceChildren(make("p", { class: "trouble" }, told));
    console.error(error);
  }
}
// The anchor of an address is looked for before the drawings have made the page long.
if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
document.documentElement.dataset.ready = evidence.size;

// Wheel, drag, pinch and keys move the span of time; a tap is a click.
//
// The wheel alone scrolls the page, as everywhere. It zooms with Ctrl or ⌘ held (what a pinch on a
// touchpad sends, too), and where the drawing has the focus, once it was clicked.

const SLACK = 4;

/** Let gestures on a plot move its span; `tapped(x, y)` hears of clicks and taps. */
export function attach(plot, tapped) {
  const { canvas, span } = plot;
  const down = new Map();
  let moved = 0;

  const seconds = (pixels) => (pixels / (plot.right - plot.left)) * span.length;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  canvas.addEventListener("wheel", (event) => {
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      span.move(seconds(sideways));
    } else if (event.ctrlKey || event.metaKey || document.activeElement === canvas) {
      span.zoom(Math.exp(event.deltaY * (event.ctrlKey ? 0.01 : 0.0018)), plot.t(place(event).x));
    } else {
      return;
    }
    event.preventDefault();
  }, { passive: false });

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    if (down.size === 1) moved = 0;
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (down.size === 1) {
      if (moved > SLACK) span.move(seconds(before.x - now.x));
    } else {
      const [, other] = [...down].find(([id]) => id !== event.pointerId);
      pinch(before.x, now.x, other.x);
    }
    down.set(event.pointerId, now);
  });

  function pinch(before, now, other) {
    const wide = Math.max(Math.abs(before - other), 10);
    span.zoom(wide / Math.max(Math.abs(now - other), 10), plot.t(other));
  }

  canvas.addEventListener("pointerup", (event) => {
    const at = down.get(event.pointerId);
    down.delete(event.pointerId);
    if (at && moved <= SLACK && !down.size) tapped(at.x, at.y, event.pointerType === "touch");
  });
  canvas.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
}

/** What keys do to a span; others are left to who listens. */
export function keyed(span, event) {
  const acts = {
    ArrowLeft: () => span.move(-span.length / 5),
    ArrowRight: () => span.move(span.length / 5),
    "+": () => span.zoom(1 / 1.5),
    "=": () => span.zoom(1 / 1.5),
    "-": () => span.zoom(1.5),
    0: () => span.showAll(),
    Home: () => span.move(span.least - span.from),
    End: () => span.move(span.most - span.to),
  };
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return false;
  acts[event.key]();
  return true;
}

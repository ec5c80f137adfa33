// Ticks of axes, and numbers as people write them.

/** The round step (1, 2 or 5 times a power of ten) that is at least so long. */
export function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= least * (1 - 1e-9));
}

/** The multiples of a step from one number to another. */
export function multiples(step, from, to) {
  const first = Math.ceil(from / step - 1e-9);
  const count = Math.floor(to / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step);
}

/** The largest of these numbers, or `least` if none is larger. */
export function largest(numbers, least) {
  return numbers.reduce((a, b) => Math.max(a, b), least);
}

/** The powers of ten that enclose two numbers, with those between them. */
export function decades(low, high) {
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.max(Math.ceil(Math.log10(high) - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

/** A time since the beginning, with as many digits as steps of this length need. */
export function atTime(t, step = 1e-6) {
  const digits = Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return `${t.toFixed(digits).replace(/^-(0\.?0*)$/, "$1")} s`;
}

/** A length of time, with three digits and the unit that fits. */
export function duration(seconds) {
  const size = Math.abs(seconds);
  if (size < 1e-3) return `${number(seconds * 1e6)} µs`;
  if (size < 1) return `${number(seconds * 1e3)} ms`;
  return `${number(seconds)} s`;
}

/** A number with three digits, or all that are before the point. */
export function number(value) {
  const whole = Math.abs(value) >= 100 || Number.isInteger(value);
  return whole ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

/** The time of day, UTC, of a time since the beginning. */
export function clock(began, t) {
  const micros = Math.round((began + t) * 1e6);
  const day = new Date(Math.floor(micros / 1e3)).toISOString();
  return `${day.slice(11, 23)}${String(((micros % 1e3) + 1e3) % 1e3).padStart(3, "0")} UTC`;
}

/** The states of a zone: their order, their colours and patterns. Colours come from the style sheet, in one place. */

/** The ones that matter most come first, as the service orders them. */
export const STATES = ["unusual", "degraded", "no_coverage", "unusual_drop", "usual", "below_threshold", "not_judged"];

/** Not everyone tells colours apart: what is odd is also hatched or marked. */
const PATTERNS = {
  unusual: hatch(3.2),
  unusual_drop: dots,
  degraded: hatch(1.4),
  no_coverage: cross,
};

export const SEVERITIES = ["very_high", "high", "moderate"];

const styles = () => getComputedStyle(document.documentElement);

/** The value of a colour of the style sheet now, light or dark. */
export function colour(name) {
  return styles().getPropertyValue(`--${name}`).trim();
}

export const fillOf = (state) => colour(`state-${state ?? "null"}`);
export const inkOf = (state) => colour(`ink-${state ?? "null"}`);
export const isPatterned = (state) => state in PATTERNS;

const TILE = 16;

/** The tile of a state's pattern as pixels for the map, transparent between its strokes; 2 pixels a point. */
export function patternOf(state) {
  const canvas = new OffscreenCanvas(TILE * 2, TILE * 2);
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  paint(pen, state);
  return pen.getImageData(0, 0, TILE * 2, TILE * 2);
}

function paint(pen, state) {
  pen.strokeStyle = pen.fillStyle = inkOf(state);
  PATTERNS[state]?.(pen);
}

function hatch(width) {
  return (pen) => {
    pen.lineWidth = width;
    for (const shift of [-TILE / 2, TILE / 2, (3 * TILE) / 2]) line(pen, shift - TILE, TILE, shift + TILE, -TILE);
    for (const shift of [0, TILE]) line(pen, shift - TILE, TILE, shift + TILE, -TILE);
  };
}

function cross(pen) {
  pen.lineWidth = 1.2;
  for (const at of [TILE / 4, (3 * TILE) / 4]) {
    line(pen, at - 2.5, at - 2.5, at + 2.5, at + 2.5);
    line(pen, at - 2.5, at + 2.5, at + 2.5, at - 2.5);
  }
}

function dots(pen) {
  for (const [x, y] of [[4, 4], [12, 12]]) {
    pen.beginPath();
    pen.arc(x, y, 1.8, 0, 2 * Math.PI);
    pen.fill();
  }
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

/** A small picture of a state for legend, tables and tips. It says nothing by itself: words stand beside it. */
export function swatchOf(state, kind = "belt") {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  canvas.className = kind === "crossing_point" ? "swatch round" : "swatch";
  canvas.setAttribute("aria-hidden", "true");
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  pen.fillStyle = fillOf(state);
  pen.fillRect(0, 0, TILE, TILE);
  paint(pen, state);
  return canvas;
}

/** The mark on the map of a zone with an open alert: a warning triangle, as pixels. */
export function alertMark() {
  const size = 44;
  const canvas = new OffscreenCanvas(size, size);
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  pen.beginPath();
  pen.moveTo(11, 2.5);
  pen.lineTo(20.5, 19.5);
  pen.lineTo(1.5, 19.5);
  pen.closePath();
  pen.lineJoin = "round";
  pen.lineWidth = 2.5;
  pen.strokeStyle = colour("mark-edge");
  pen.stroke();
  pen.fillStyle = colour("mark-fill");
  pen.fill();
  pen.fillStyle = colour("mark-edge");
  pen.fillRect(10, 8, 2, 6);
  pen.fillRect(10, 15.5, 2, 2);
  return pen.getImageData(0, 0, size, size);
}

/** Pictures in SVG, sized by attributes alone: the page's policy allows no inline style. */

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function picture(width, height, className, told, ...children) {
  const attributes = { viewBox: `0 0 ${width} ${height}`, class: className, role: "img", "aria-label": told };
  return draw("svg", attributes, ...children);
}

/** How much of a day's budget is used: a bar in a bar. */
export function spent(used, allowed, told) {
  const most = Math.max(used, allowed);
  return picture(
    144, 14, "spent", told,
    draw("rect", { class: "allowed", x: 0, y: 1, width: (144 * allowed) / most, height: 12, rx: 2 }),
    draw("rect", { class: "used", x: 0, y: 3.5, width: (144 * used) / most, height: 7, rx: 1 }),
  );
}

/** The share that is left out, and the share that is published. */
export function shares(silent, words, told) {
  const width = 640, edge = width * silent;
  return picture(
    width, 58, "picture", told,
    draw("rect", { class: "silent", x: 0.5, y: 4, width: Math.max(edge - 1, 0), height: 26 }),
    draw("rect", { class: "told", x: edge + 0.5, y: 4, width: Math.max(width - edge - 1, 0), height: 26 }),
    draw("text", { x: 0, y: 48 }, words.silent),
    draw("text", { x: width, y: 48, "text-anchor": "end" }, words.said),
  );
}

/** One bar a row, as long as its value; what is much and what is most has another colour, and always its figure. */
export function bars(rows, told) {
  const width = 640, left = 110, right = 70, height = 34;
  const most = Math.max(...rows.map((row) => row.value));
  return picture(
    width, rows.length * height + 4, "picture", told,
    ...rows.flatMap((row, place) => {
      const y = place * height + 4, length = ((width - left - right) * row.value) / most;
      const depth = row.value > 10 ? " most" : row.value > 2 ? " much" : "";
      return [
        draw("text", { x: left - 10, y: y + 18, "text-anchor": "end" }, row.label),
        draw("rect", { class: `bar-fill${depth}`, x: left, y: y + 3, width: Math.max(length, 1.5), height: 21, rx: 2, "data-value": row.value }),
        draw("text", { class: "figure", x: left + length + 8, y: y + 18 }, row.words),
      ];
    }),
  );
}

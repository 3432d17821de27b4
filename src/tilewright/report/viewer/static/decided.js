// What was decided about outlines: over the map at once, each kind with a dash of its own, and as a list.

import { fill } from "./gallery.js";
import { polygon } from "./layers.js";
import { ABOVE } from "./shape.js";

// Blue, orange, green and grey differ for all who confuse red and green; the dashes differ for everybody.
export const KINDS = {
  accept: { name: "right", color: "#009e73", dashArray: "14 5" },
  reject: { name: "taken out", color: "#d55e00", dashArray: "2 5" },
  redraw: { name: "other shape", color: "#0072b2", dashArray: "8 4" },
  rename: { name: "other class", color: "#0072b2", dashArray: "8 3 2 3" },
  ignore: { name: "ignored", color: "#555555", dashArray: "1 5", fill: true, fillOpacity: 0.35 },
  draw: { name: "new", color: "#0072b2" },
};
const CASING = { color: "#ffffff", weight: 6, fill: false };
const LISTED = 30;
const SVG = "http://www.w3.org/2000/svg";

export function drawDecided(layer, decisions, pane) {
  layer.clearLayers();
  for (const { kind, rings } of decisions.filter((one) => one.lasts)) {
    const { name, ...style } = KINDS[kind];
    for (const each of [CASING, { weight: 2.5, fill: false, ...style }]) {
      polygon(rings, pane.map, pane.about.zoom, { ...each, pane: ABOVE }).addTo(layer);
    }
  }
}

function sample(kind) {
  const [drawn, line] = ["svg", "line"].map((name) => document.createElementNS(SVG, name));
  const { color, dashArray } = KINDS[kind];
  const sides = { x1: 0, y1: 6, x2: 34, y2: 6, stroke: color, "stroke-width": 3, "stroke-dasharray": dashArray ?? "" };
  Object.entries(sides).forEach(([name, value]) => line.setAttribute(name, value));
  Object.entries({ width: 34, height: 12, "aria-hidden": true }).forEach(([name, value]) => drawn.setAttribute(name, value));
  drawn.append(line);
  return drawn;
}

// The decisions of a slide, the last one first; a click leads to each.
export function listDecided(decisions, lead) {
  const rows = decisions.slice(-LISTED).reverse().map((one) => {
    const when = one.date.replace("T", " ").replace("Z", " UTC");
    const what = KINDS[one.kind].name + (one.kind === "ignore" ? "" : `: ${one.class}`);
    const said = [what, `${one.author}, ${when}`, one.reason].filter(Boolean).join("; ");
    const button = fill("button", [sample(one.kind), ` ${said}`], { type: "button", className: one.lasts ? "" : "past" });
    button.addEventListener("click", () => lead(one.box));
    return fill("li", button);
  });
  return fill("ol", rows, { id: "decisions" });
}

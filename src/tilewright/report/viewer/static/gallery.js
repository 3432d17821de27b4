// The gallery: slides with thumbnails, roles and scores, the worst first, and filters. Of those without a score come
// first those whose predictions are farthest apart.

import { text } from "./link.js";

const element = (id) => document.getElementById(id);
const ROLES = { train: "training", test: "test", external: "external" };
const chosen = { run: "0", ensemble: "", role: "", source: "", group: "", below: "" };

export function fill(tag, content, attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made) {
      made[name] = value;
    } else {
      made.setAttribute(name, value);
    }
  }
  made.append(...[content].flat().filter((part) => part !== null && part !== undefined));
  return made;
}

export function select(label, value, options, change) {
  const box = fill("select", options.map(([each, name]) => fill("option", name, { value: each })));
  box.value = value;
  box.addEventListener("change", () => change(box.value));
  box.setAttribute("aria-label", label);
  return box;
}

// What is to be said of a submission, a line each, at the head of the page.
export function tellAtHead(lines) {
  element("told").replaceChildren(...lines.map((line) => fill("li", line)));
  element("told").hidden = !lines.length;
}

// The report of a run, if there is one.
export function offerReport(number, run) {
  element("report").href = `report/${number}/`;
  element("report").hidden = !run?.report;
}

const score = (slide) => slide.dice[chosen.ensemble];

const spread = (slide) => slide.spread[chosen.ensemble];

// The worst first; those without a score last.
function worse(one, other) {
  return (score(one) ?? 2) - (score(other) ?? 2) || (spread(other) ?? -1) - (spread(one) ?? -1)
    || one.slide.localeCompare(other.slide);
}

function said(slide) {
  const known = [
    score(slide) === undefined ? undefined : `Dice ${score(slide).toFixed(3)}`,
    spread(slide) === undefined ? undefined : `spread ${spread(slide).toFixed(3)}`,
  ];
  return known.filter(Boolean).join(", ") || "no score";
}

function matches(slide) {
  const same = ["role", "source", "group"].every((name) => !chosen[name] || slide[name] === chosen[name]);
  return same && (chosen.below === "" || (score(slide) ?? 2) < Number(chosen.below));
}

export function gallery(runs) {
  const run = runs[Number(chosen.run)];
  const sets = [...run.ensembles, ...run.submissions];
  if (!sets.includes(chosen.ensemble)) {
    chosen.ensemble = sets[0] ?? "";
  }
  tellAtHead(run.told);
  offerReport(chosen.run, run);
  drawFilters(runs, run);
  drawCards(run);
}

function drawFilters(runs, run) {
  const change = (name) => (value) => {
    chosen[name] = value;
    gallery(runs);
  };
  const values = (name) => [...new Set(run.slides.map((slide) => slide[name]))].sort();
  const filter = (name, title, names = {}) =>
    fill("label", [`${title} `, select(title, chosen[name],
      [["", "all"], ...values(name).map((value) => [value, names[value] ?? value])], change(name))]);
  const below = fill("input", [], { type: "number", min: 0, max: 1, step: 0.01, value: chosen.below });
  below.addEventListener("change", () => change("below")(below.value));
  element("filters").replaceChildren(
    ...(runs.length > 1 ? [fill("label", ["Run ",
      select("Run", chosen.run, runs.map((each, place) => [String(place), each.name]), change("run"))])] : []),
    fill("label", ["Scores of ",
      select("Scores of", chosen.ensemble, [...run.ensembles, ...run.submissions].map((name) => [name, name]), change("ensemble"))]),
    filter("role", "Role", ROLES),
    filter("source", "Source"),
    filter("group", "Group"),
    fill("label", ["Dice below ", below]),
  );
}

function drawCards(run) {
  const slides = run.slides.filter(matches).sort(worse);
  element("count").textContent = `${slides.length} of ${run.slides.length} slides, the worst first`;
  element("cards").replaceChildren(...slides.map((slide) => card(slide)));
}

function card(slide) {
  const address = text({ run: chosen.run, slide: slide.slide, set: chosen.ensemble });
  const picture = fill("img", [], {
    src: `${chosen.run}/${encodeURIComponent(slide.slide)}/thumbnail.jpg`, alt: "", loading: "lazy",
  });
  const fold = slide.fold === null || slide.fold === undefined ? "" : `, fold ${slide.fold}`;
  return fill("li", fill("a", [
    picture,
    fill("span", said(slide), { className: "score" }),
    fill("strong", slide.slide),
    fill("span", `${ROLES[slide.role] ?? slide.role}${fold}, ${slide.source}`),
  ], { href: address }));
}

// Permalinks: slide, place, layers, threshold, all behind the # of the address, which never leaves the browser.

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const link = Object.fromEntries(given);
  for (const name of ["run", "x", "y", "zoom", "t", "queue"]) {
    if (name in link && link[name] !== "" && Number.isFinite(Number(link[name]))) {
      link[name] = Number(link[name]);
    } else {
      delete link[name];
    }
  }
  const box = (link.box ?? "").split(",").map(Number);
  delete link.box;
  if (box.length === 4 && box.every(Number.isFinite)) {
    link.box = box;
  }
  if (link.layers !== undefined) {
    const parts = link.layers.split(",").filter(Boolean).map((part) => part.split(":"));
    link.layers = Object.fromEntries(parts.map(([name, opacity]) => [name, Number(opacity ?? 1)]));
  }
  return link;
}

export function text(link) {
  const layers = link.layers && Object.entries(link.layers).map(([name, opacity]) => `${name}:${opacity}`).join(",");
  const kept = Object.entries({ ...link, layers }).filter(([, value]) => value !== undefined && value !== null);
  return `#${new URLSearchParams(kept)}`;
}

export function show(link) {
  history.replaceState(null, "", text(link));
}

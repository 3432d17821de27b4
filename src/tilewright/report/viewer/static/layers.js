// Layers of Leaflet: pictures, grey values that are coloured here, outlines, boxes. A point of the map is a pixel of
// the slide at its deepest zoom.

import { Refusal, query, values } from "./api.js";

export const TILE = 256;
export const IGNORED = 255;
// Blue and orange differ for all who confuse red and green; what is wrong is hatched besides.
export const DIFFERENCE = { 1: [255, 255, 255], 2: [0, 90, 181], 3: [230, 120, 0] };
const WRONG = 3;
const GREY = [120, 120, 120];
const TISSUE = [0, 158, 160];
const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

const rgb = (color) => [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16));

export function heat(value) {
  const place = (value / 255) * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[low].map((start, band) => Math.round(start + (place - low) * (HEAT[low + 1][band] - start)));
}

const HEATS = Array.from({ length: 256 }, (_, value) => heat(value));

function put(pixels, place, color, alpha) {
  pixels.set(color, 4 * place);
  pixels[4 * place + 3] = alpha;
}

// Whether a pixel lies at the border of what has the same value; the border of a tile is none.
function isEdge(grey, place) {
  const x = place % TILE;
  const own = grey[place];
  return (x > 0 && grey[place - 1] !== own) || (x < TILE - 1 && grey[place + 1] !== own)
    || (place >= TILE && grey[place - TILE] !== own) || (place < grey.length - TILE && grey[place + TILE] !== own);
}

const PAINTERS = {
  truth(pixels, grey, { colors }) {
    grey.forEach((value, place) => value && put(pixels, place, value === IGNORED ? GREY : colors[value - 1], 170));
  },
  prediction(pixels, grey, { colors }) {
    grey.forEach((value, place) => {
      if (value && value !== IGNORED) {
        put(pixels, place, colors[value - 1], isEdge(grey, place) ? 255 : 45);
      }
    });
  },
  difference(pixels, grey) {
    grey.forEach((value, place) => {
      if (value && value !== IGNORED) {
        const striped = value === WRONG && (place % TILE + Math.floor(place / TILE)) % 6 < 2;
        put(pixels, place, striped ? [255, 255, 255] : DIFFERENCE[value], value === 1 ? 90 : 220);
      }
    });
  },
  tissue(pixels, grey) {
    grey.forEach((value, place) => value && put(pixels, place, TISSUE, isEdge(grey, place) ? 255 : 60));
  },
  probability(pixels, grey, { bin }) {
    const reached = grey.map((value) => (value >= bin ? 1 : 0));
    grey.forEach((value, place) => {
      if (reached[place] && isEdge(reached, place)) {
        put(pixels, place, [0, 229, 255], 255);
      } else if (value) {
        put(pixels, place, HEATS[value], reached[place] ? 215 : Math.min(150, value));
      }
    });
  },
  spread(pixels, grey) {
    grey.forEach((value, place) => value && put(pixels, place, HEATS[value], Math.min(215, 3 * value)));
  },
};
export const PAINTED = Object.keys(PAINTERS);

// A layer of grey values. What it shows changes with `paint` without asking the server again.
export const Values = L.GridLayer.extend({
  initialize(name, base, about, report, options) {
    L.GridLayer.prototype.initialize.call(this, options);
    Object.assign(this, { name, base, report, painted: { colors: about.classes.map((each) => rgb(about.colors[each])), bin: 128 }, asked: {} });
  },

  ask(asked) {
    if (query(asked) !== query(this.asked)) {
      this.asked = asked;
      this.redraw();
    }
    return this;
  },

  createTile(coords, done) {
    const tile = document.createElement("canvas");
    tile.width = TILE;
    tile.height = TILE;
    const url = `${this.base}/${this.name}/${coords.z}/${coords.x}/${coords.y}.png${query(this.asked)}`;
    tile.stop = new AbortController();
    values(url, tile.stop.signal).then((grey) => {
      tile.grey = grey;
      this.draw(tile);
      done(null, tile);
    }, (error) => {
      if (error instanceof Refusal) {
        this.report(error);
      }
      done(null, tile);
    });
    return tile;
  },

  draw(tile) {
    const context = tile.getContext("2d");
    const image = context.createImageData(TILE, TILE);
    if (tile.grey) {
      PAINTERS[this.name](image.data, tile.grey, this.painted);
    }
    context.putImageData(image, 0, 0);
  },

  paint(changes) {
    Object.assign(this.painted, changes);
    for (const { el } of Object.values(this._tiles)) {
      if (el.grey) {
        this.draw(el);
      }
    }
  },

  _removeTile(key) {
    this._tiles[key]?.el.stop?.abort();
    L.GridLayer.prototype._removeTile.call(this, key);
  },
});

// The part of the slide that a map shows: left, top, right, bottom in its pixels.
export function seen(map, zoom) {
  const bounds = map.getBounds();
  const low = map.project(bounds.getNorthWest(), zoom);
  const high = map.project(bounds.getSouthEast(), zoom);
  return [low.x, low.y, high.x, high.y].map((edge) => Math.round(edge * 10) / 10);
}

// Rings of a polygon or several, as Leaflet draws them: those inside others are holes.
export function polygon(rings, map, zoom, style) {
  const placed = rings.map((ring) => ring.map(([x, y]) => map.unproject([x, y], zoom)));
  return L.polygon(placed, { interactive: false, ...style });
}

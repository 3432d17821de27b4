// Questions to the server. An answer that is "not yet" is asked for again; what is refused becomes a Refusal.

const PATIENCE = 600;
const PAUSE = 500;

export class Refusal extends Error {
  constructor(told) {
    super([`${told.where}: ${told.what}`, told.remedy].filter(Boolean).join("\n"));
  }
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

async function asked(url, signal, options = {}) {
  for (let turn = 0; turn < PATIENCE; turn += 1) {
    const answer = await fetch(url, { signal, ...options });
    if (answer.status !== 202) {
      return answer;
    }
    await pause(PAUSE);
  }
  throw new Refusal({ where: "view", what: "it takes too long to be made.", remedy: "Reload the page." });
}

async function sound(url, signal, options = {}) {
  let answer;
  try {
    answer = await asked(url, signal, options);
  } catch (error) {
    if (error instanceof TypeError) {
      throw new Refusal({ where: "view", what: "does not answer any more.", remedy: "Start tilewright view again." });
    }
    throw error;
  }
  if (!answer.ok) {
    throw new Refusal(await answer.json());
  }
  return answer;
}

export const query = (values) => {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
};

export async function json(url, values = {}, signal = undefined) {
  return (await sound(url + query(values), signal)).json();
}

// Tell the server something; what it answers.
export async function send(url, value) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  return (await sound(url, undefined, options)).json();
}

// The grey values of a PNG, row by row; null where there is no tile.
export async function values(url, signal) {
  const answer = await asked(url, signal);
  if (answer.status === 404) {
    return null;
  }
  if (!answer.ok) {
    throw new Refusal(await answer.json());
  }
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(await answer.blob(), options);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const grey = new Uint8Array(bitmap.width * bitmap.height);
  for (let place = 0; place < grey.length; place += 1) {
    grey[place] = pixels[4 * place];
  }
  return grey;
}

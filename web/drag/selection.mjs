/**
 * What a place on a picture belongs to: a soft mask grown from a few seeds, by how unlike its surroundings it is
 * (core/field/selection.py, equal number by number: tests/web/vectors/selection.json).
 *
 * Convention: the picture in cells, rgb [h * w * 3] in [0, 1]; seeds (x, y) in cells, cell centres at (c + 0.5, r + 0.5).
 *
 * @import {Point, Size} from "./types.mjs"
 *
 * @typedef {object} Cells
 * @property {number} width @property {number} height
 * @property {Float64Array} rgb
 */

/** Cells on the picture's longer side. */
export const SIDE = 128;
const NEAR = 0.14;
const RARE = 0.015;
export const FLOOR = 0.002;
const CERTAIN = 3;
const ROUNDS = 3;
const SWEEPS = 6;
const STIFF = 4;
const BINS = [10, 14, 14];
const LOW = [0, -0.35, -0.35];
const HIGH = [1, 0.35, 0.35];

/** The grid that a picture is looked at in. @param {Size} size @returns {Size} */
export function cellsOf([width, height]) {
  const scale = Math.min(1, SIDE / Math.max(width, height));
  return [Math.max(1, Math.floor(width * scale + 0.5)), Math.max(1, Math.floor(height * scale + 0.5))];
}

/** The mean colour of each cell. @param {Uint8ClampedArray} rgba @param {Size} size @param {Size} cells  no more than px
 * @returns {Cells} */
export function shrunk(rgba, [width, height], [w, h]) {
  const across = shares(width, w);
  const down = shares(height, h);
  const rgb = new Float64Array(w * h * 3);
  for (let r = 0; r < h; r++) {
    for (let c = 0; c < w; c++) {
      for (const [y, tall] of down[r]) {
        for (const [x, wide] of across[c]) {
          const [from, to, share] = [4 * (y * width + x), 3 * (r * w + c), (tall * wide) / 255];
          for (let k = 0; k < 3; k++) rgb[to + k] += rgba[from + k] * share;
        }
      }
    }
  }
  return { width: w, height: h, rgb };
}

/** Which of `count` px lie in each of `cells`, and their share of it. @param {number} count @param {number} cells
 * @returns {[number, number][][]} */
function shares(count, cells) {
  const long = count / cells;
  return Array.from({ length: cells }, (_, i) => {
    /** @type {[number, number][]} */
    const found = [];
    for (let p = Math.floor(i * long + 1e-9); p < Math.min(count, (i + 1) * long - 1e-9); p++) {
      found.push([p, (Math.min(p + 1, (i + 1) * long) - Math.max(p, i * long)) / long]);
    }
    return found;
  });
}

/** @param {Cells} cells @param {Point[]} seeds  at least one @returns {Float64Array} [h * w] in [0, 1]; above one half a cell belongs to them */
export function selectCells(cells, seeds) {
  const { width, height } = cells;
  const colour = opponent(cells.rgb);
  const number = binsOf(colour);
  const away = distance(cells, seeds);
  const reach = reachOf(cells, seeds.length);
  const [across, down] = likeness(colour, width, height);
  let soft = away.map((d) => Math.exp(-0.5 * (d / (0.5 * reach)) ** 2));
  for (let round = 0; round < ROUNDS; round++) {
    const ours = histogram(number, soft);
    const ground = histogram(number, soft.map((s, i) => (1 - s) * Math.exp(-Math.max(0, away[i] - 2 * reach) / reach)));
    const evidence = away.map((d, i) => {
      const ratio = Math.log((ours[number[i]] + FLOOR + RARE) / (ground[number[i]] + FLOOR));
      return Math.min(CERTAIN, Math.max(-CERTAIN, ratio)) + Math.max(-6, -0.5 * (d / reach) ** 2);
    });
    soft = smoothed(evidence, across, down, width, height).map((v) => 1 / (1 + Math.exp(-2 * v)));
  }
  const kept = reached(soft, seeds, width, height);
  return soft.map((s, i) => (kept[i] || away[i] < 1.5 ? s : 0));
}

/** How far each seed speaks for. @param {{width: number, height: number}} cells @param {number} seeds */
export function reachOf({ width, height }, seeds) {
  return (NEAR * Math.min(width, height)) / seeds ** 0.25;
}

/** From every cell to the nearest seed. @param {{width: number, height: number}} cells @param {Point[]} seeds */
export function distance({ width, height }, seeds) {
  const away = new Float64Array(width * height).fill(Infinity);
  for (const [x, y] of seeds) {
    for (let r = 0, i = 0; r < height; r++) {
      for (let c = 0; c < width; c++, i++) away[i] = Math.min(away[i], Math.hypot(c + 0.5 - x, r + 0.5 - y));
    }
  }
  return away;
}

/** Brightness, red against green, yellow against blue. @param {Float64Array} rgb */
export function opponent(rgb) {
  const found = new Float64Array(rgb.length);
  for (let i = 0; i < rgb.length; i += 3) {
    const [r, g, b] = [rgb[i], rgb[i + 1], rgb[i + 2]];
    found[i] = (r + g + b) / 3;
    found[i + 1] = r - g;
    found[i + 2] = (r + g) / 2 - b;
  }
  return found;
}

/** The number of each colour's bin. @param {Float64Array} colour */
export function binsOf(colour) {
  return Int32Array.from({ length: colour.length / 3 }, (_, i) => {
    let number = 0;
    for (let k = 0; k < 3; k++) {
      const place = Math.floor(((colour[3 * i + k] - LOW[k]) / (HIGH[k] - LOW[k])) * BINS[k]);
      number = number * BINS[k] + Math.min(BINS[k] - 1, Math.max(0, place));
    }
    return number;
  });
}

/** Shares of the weight by colour, each bin spread 1:2:1 over its neighbours along every axis. @param {Int32Array} number
 * @param {Float64Array} weight */
export function histogram(number, weight) {
  const count = BINS[0] * BINS[1] * BINS[2];
  let found = new Float64Array(count);
  for (let i = 0; i < number.length; i++) found[number[i]] += weight[i];
  for (const [step, bins] of [[BINS[1] * BINS[2], BINS[0]], [BINS[2], BINS[1]], [1, BINS[2]]]) {
    const spread = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const place = Math.floor(i / step) % bins;
      spread[i] = 0.25 * (place > 0 ? found[i - step] : 0) + 0.5 * found[i] + 0.25 * (place < bins - 1 ? found[i + step] : 0);
    }
    found = spread;
  }
  const total = Math.max(found.reduce((a, b) => a + b, 0), 1e-12);
  return found.map((v) => v / total);
}

/** How much a cell has to do with the next across and down, 1 for the same colour. @param {Float64Array} colour
 * @param {number} width @param {number} height @returns {[Float64Array, Float64Array]} [h * w] each, 0 at the end */
function likeness(colour, width, height) {
  const [across, down] = [new Float64Array(width * height), new Float64Array(width * height)];
  let [sum, count] = [0, 0];
  for (const [found, step, last] of /** @type {[Float64Array, number, (i: number) => boolean][]} */ ([
    [across, 1, (/** @type {number} */ i) => i % width === width - 1],
    [down, width, (/** @type {number} */ i) => i >= width * (height - 1)],
  ])) {
    for (let i = 0; i < found.length; i++) {
      if (last(i)) continue;
      for (let k = 0; k < 3; k++) found[i] += (colour[3 * (i + step) + k] - colour[3 * i + k]) ** 2;
      sum += found[i];
      count += 1;
    }
  }
  const spread = Math.max((2 * sum) / Math.max(count, 1), 1e-9);
  for (let i = 0; i < across.length; i++) {
    across[i] = i % width === width - 1 ? 0 : Math.exp(-across[i] / spread);
    down[i] = i >= width * (height - 1) ? 0 : Math.exp(-down[i] / spread);
  }
  return [across, down];
}

/** @param {Float64Array} value @param {Float64Array} across @param {Float64Array} down @param {number} width @param {number} height */
function smoothed(value, across, down, width, height) {
  let now = value;
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const next = new Float64Array(value.length);
    for (let r = 0, i = 0; r < height; r++) {
      for (let c = 0; c < width; c++, i++) {
        let [sum, total] = [value[i], 1];
        if (c > 0) [sum, total] = [sum + STIFF * across[i - 1] * now[i - 1], total + STIFF * across[i - 1]];
        if (c < width - 1) [sum, total] = [sum + STIFF * across[i] * now[i + 1], total + STIFF * across[i]];
        if (r > 0) [sum, total] = [sum + STIFF * down[i - width] * now[i - width], total + STIFF * down[i - width]];
        if (r < height - 1) [sum, total] = [sum + STIFF * down[i] * now[i + width], total + STIFF * down[i]];
        next[i] = sum / total;
      }
    }
    now = next;
  }
  return now;
}

/** Pieces (4-connected) above one half with a seed in them, and the cells that touch them. @param {Float64Array} soft
 * @param {Point[]} seeds @param {number} width @param {number} height */
function reached(soft, seeds, width, height) {
  const piece = new Uint8Array(soft.length);
  const ahead = seeds.map((seed) => indexOf(seed, width, height)).filter((i) => soft[i] > 0.5);
  for (const i of ahead) piece[i] = 1;
  for (let i = ahead.pop(); i !== undefined; i = ahead.pop()) {
    const c = i % width;
    for (const [j, there] of /** @type {[number, boolean][]} */ ([
      [i - 1, c > 0], [i + 1, c < width - 1], [i - width, i >= width], [i + width, i < width * (height - 1)],
    ])) {
      if (!there || piece[j] || soft[j] <= 0.5) continue;
      piece[j] = 1;
      ahead.push(j);
    }
  }
  const kept = new Uint8Array(soft.length);
  for (let i = 0; i < piece.length; i++) {
    if (!piece[i]) continue;
    const [c, r] = [i % width, Math.floor(i / width)];
    for (let y = Math.max(0, r - 1); y <= Math.min(height - 1, r + 1); y++) {
      kept.fill(1, y * width + Math.max(0, c - 1), y * width + Math.min(width, c + 2));
    }
  }
  return kept;
}

/** The cell of a place, at the border for one beyond it. @param {Point} place @param {number} width @param {number} height */
export function indexOf([x, y], width, height) {
  const [c, r] = [Math.min(width - 1, Math.max(0, Math.floor(x))), Math.min(height - 1, Math.max(0, Math.floor(y)))];
  return r * width + c;
}

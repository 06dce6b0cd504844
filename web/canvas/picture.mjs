/**
 * A picture to draw on, kept in halved copies: a screen of 400 px never samples the 4096 px of the original.
 */

/** @import {Size} from "../drag/types.mjs" */

/** @typedef {{source: HTMLImageElement | HTMLCanvasElement, scale: number}} Level  scale: its px per picture px */

const SMALLEST = 256;

export class Picture {
  /**
   * @param {string} url
   * @param {HTMLImageElement | HTMLCanvasElement} source fully loaded
   */
  constructor(url, source) {
    this.url = url;
    /** @type {Size} */
    this.size = source instanceof HTMLImageElement ? [source.naturalWidth, source.naturalHeight] : [source.width, source.height];
    /** @type {Level[]} from large to small */
    this.levels = [{ source, scale: 1 }];
  }

  /**
   * The smallest copy that still has a px for each px of the screen.
   *
   * @param {number} zoom screen px per picture px
   * @returns {Level}
   */
  level(zoom) {
    let found = this.levels[0];
    for (let i = 1; found.scale / 2 >= zoom && Math.max(...this.size) * found.scale >= 2 * SMALLEST; i++) {
      this.levels[i] ??= halved(found, this.size);
      found = this.levels[i];
    }
    return found;
  }

  /**
   * A small copy to compute with.
   *
   * @param {number} side its longest side, at most
   * @returns {ImageData}
   */
  pixels(side) {
    const scale = Math.min(1, side / Math.max(...this.size));
    const canvas = blank(Math.max(1, Math.round(this.size[0] * scale)), Math.max(1, Math.round(this.size[1] * scale)));
    const context = context2d(canvas, true);
    context.drawImage(this.level(scale).source, 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }
}

/**
 * @param {string} url
 * @returns {Promise<Picture>} rejects if it can't be loaded
 */
export async function loadPicture(url) {
  const image = new Image();
  image.decoding = "async";
  image.src = url;
  await image.decode();
  return new Picture(url, image);
}

/**
 * @param {number} width
 * @param {number} height
 * @returns {HTMLCanvasElement}
 */
export function blank(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {boolean} [read] whether its pixels are read back
 * @returns {CanvasRenderingContext2D}
 */
export function context2d(canvas, read = false) {
  const context = canvas.getContext("2d", { willReadFrequently: read });
  if (!context) throw new Error("no 2D canvas");
  return context;
}

/**
 * @param {Level} level
 * @param {Size} size
 * @returns {Level}
 */
function halved(level, size) {
  const scale = level.scale / 2;
  const canvas = blank(Math.max(1, Math.round(size[0] * scale)), Math.max(1, Math.round(size[1] * scale)));
  const context = context2d(canvas);
  context.imageSmoothingQuality = "medium";
  context.drawImage(level.source, 0, 0, canvas.width, canvas.height);
  return { source: canvas, scale };
}

/**
 * The lower canvas: the picture, its preview or the result, and both sides of the slider between them.
 */

import { forwardMatrix, multiply, toCanvas } from "../drag/motion.mjs";
import { viewMatrix } from "../drag/viewport.mjs";
import { pathOf, Warp } from "./warp.mjs";

/** @import {Matrix, Size, State} from "../drag/types.mjs" */
/** @import {View} from "../drag/viewport.mjs" */
/** @import {Picture} from "./picture.mjs" */
/** @import {Mode} from "./stage.mjs" */

/** @typedef {{state: State, view: View, size: Size, ratio: number, mode: Mode, split: number | null, progress: number, run: Running | null}} Scene
 * ratio: device px per css px; progress: of the preview, in [0, 1]; run: what is drawn in place of the
 * preview meanwhile */
/** @typedef {{image: ImageBitmap, window: [number, number, number, number]}} Running  window: left, top, width and height, as parts of the picture's */

const CHECKER = 12;

export class Base {
  /** @param {CanvasRenderingContext2D} context @param {() => void} [better]  see Warp */
  constructor(context, better) {
    this.context = context;
    this.warp = new Warp(better);
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {Picture | null} */
    this.result = null;
  }

  /** @param {Scene} scene */
  draw(scene) {
    const { context } = this;
    const { ratio, split, mode } = scene;
    const { width, height } = context.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const view = viewMatrix(scene.view);
    const matrix = /** @type {Matrix} */ (view.map((entry) => entry * ratio));
    context.setTransform(...toCanvas(matrix));
    context.imageSmoothingEnabled = scene.view.zoom * ratio < 4;
    if (!this.picture) {
      this.empty(scene);
      return;
    }
    if (split === null || mode === "input") {
      this.show(mode, scene, matrix);
      return;
    }
    const seam = split * scene.size[0];
    for (const side of /** @type {const} */ (["input", mode])) {
      context.save();
      context.beginPath();
      if (side === "input") context.rect(0, 0, seam, scene.size[1]);
      else context.rect(seam, 0, scene.size[0] - seam, scene.size[1]);
      context.clip();
      this.show(side, scene, matrix, true);
      context.restore();
    }
  }

  /** @param {Mode} mode @param {Scene} scene @param {Matrix} matrix picture px to device px @param {boolean} [plain] without ghosts */
  show(mode, { state, size, view, ratio, progress, run }, matrix, plain = false) {
    const picture = /** @type {Picture} */ (this.picture);
    const { context } = this;
    if (mode === "result" && this.result) {
      context.drawImage(this.result.level(view.zoom * ratio).source, 0, 0, size[0], size[1]);
      return;
    }
    const level = picture.level(view.zoom * ratio);
    context.drawImage(level.source, 0, 0, size[0], size[1]);
    if (mode === "preview" && run) {
      const [x, y, width, height] = run.window;
      context.imageSmoothingEnabled = true;
      context.drawImage(run.image, x * size[0], y * size[1], width * size[0], height * size[1]);
    } else if (mode === "preview") this.warp.draw(context, picture, level, state, progress);
    else if (!plain) this.ghosts(state, size, matrix, level.source);
  }

  /** Each moved region, half seen, at its target. @param {State} state @param {Size} size @param {Matrix} matrix @param {CanvasImageSource} source */
  ghosts(state, size, matrix, source) {
    const { context } = this;
    for (const region of state.operations) {
      if (region.kind !== "region" || !region.visible || region.task === "pin") continue;
      const moved = forwardMatrix(region, size);
      context.save();
      context.setTransform(...toCanvas(multiply(matrix, moved)));
      const shape = new Path2D(pathOf(region.region, size));
      if (region.along) shape.addPath(pathOf(region.along, size));
      context.clip(shape, region.along ? "nonzero" : "evenodd");
      context.globalAlpha = 0.5;
      context.drawImage(source, 0, 0, size[0], size[1]);
      context.restore();
    }
  }

  /** Without a picture: the frame that the drag is drawn in. @param {Scene} scene */
  empty({ size, view }) {
    const { context } = this;
    const step = CHECKER / view.zoom;
    context.fillStyle = "rgba(128, 128, 128, 0.12)";
    context.fillRect(0, 0, size[0], size[1]);
    context.fillStyle = "rgba(128, 128, 128, 0.1)";
    for (let row = 0; row * step < size[1]; row++) {
      for (let column = row % 2; column * step < size[0]; column += 2) {
        const [x, y] = [column * step, row * step];
        context.fillRect(x, y, Math.min(step, size[0] - x), Math.min(step, size[1] - y));
      }
    }
  }
}

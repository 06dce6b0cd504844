/**
 * How the canvas looks. The colours are ComfyUI's own variables, so it follows every theme in both renderers; the values after them are for a
 * page without ComfyUI. Sizes follow the node's width by container queries.
 */

import { h } from "./dom.mjs";

const CSS = `
.df-root {
  --df-surface: var(--component-node-background, var(--comfy-menu-bg, #2b2d33));
  --df-field: var(--component-node-widget-background, var(--comfy-input-bg, #1d1f24));
  --df-text: var(--base-foreground, var(--input-text, #e6e8ec));
  --df-muted: color-mix(in srgb, var(--df-text) 62%, var(--df-surface));
  --df-line: color-mix(in srgb, var(--df-text) 13%, var(--df-surface));
  --df-hover: color-mix(in srgb, var(--df-text) 10%, transparent);
  --df-accent: var(--primary-background, #3b82f6);
  --df-chosen: color-mix(in srgb, var(--df-accent) 26%, transparent);
  --df-good: #2fb36a;
  --df-warn: #e08a00;
  container-type: inline-size;
  flex: 1 1 auto;
  box-sizing: border-box;
  width: 100%;
  height: 100%;
  min-height: 360px;
  min-width: 0;
  color: var(--df-text);
  font: 400 12px/1.35 Inter, system-ui, sans-serif;
  text-align: start;
}
.df-root *, .df-root *::before, .df-root *::after { box-sizing: border-box; }
.df-root [hidden] { display: none !important; }
.df-root button, .df-root input, .df-root select, .df-root textarea { font: inherit; color: inherit; margin: 0; }
.df-frame {
  display: flex; flex-direction: column; height: 100%; min-height: inherit;
  background: var(--df-surface); border: 1px solid var(--df-line); border-radius: 10px;
}
.df-icon {
  width: 18px; height: 18px; flex: none; display: block;
  fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linecap: round; stroke-linejoin: round;
}
.df-toolbar, .df-viewbar { display: flex; flex-wrap: wrap; align-items: center; gap: 4px; padding: 5px 6px; min-width: 0; }
.df-toolbar { border-bottom: 1px solid var(--df-line); }
.df-viewbar { padding: 5px 6px; flex-wrap: nowrap; }
.df-group { display: flex; align-items: center; gap: 1px; }
.df-rest { display: flex; flex: 1 0 auto; align-items: center; }
.df-rest .df-group { padding-inline-start: 5px; border-inline-start: 1px solid var(--df-line); }
.df-space { flex: 1; min-width: 0; }
.df-viewbar .df-space { display: flex; justify-content: center; }
.df-root .df-progress { flex: 0 1 96px; min-width: 40px; width: 40px; margin: 0; }
.df-progress[data-part] { accent-color: var(--df-warn); }
.df-button {
  position: relative; display: grid; place-items: center; width: 26px; height: 26px; padding: 0; flex: none;
  background: transparent; border: 0; border-radius: 6px; cursor: pointer; transition: background 0.12s, color 0.12s;
  color: var(--df-muted);
}
.df-root .df-button { color: var(--df-muted); }
.df-root .df-button:hover:not(:disabled) { background: var(--df-hover); color: var(--df-text); }
.df-root .df-button[aria-pressed="true"] { background: var(--df-chosen); color: var(--df-text); }
.df-root button:disabled { opacity: 0.35; cursor: default; }
.df-root :focus-visible { outline: 2px solid var(--df-accent); outline-offset: 1px; }
.df-root :is(button, input, select, textarea, .df-stage):focus:not(:focus-visible) { outline: none; }
.df-brush { display: inline-flex; align-items: center; width: 72px; }
.df-range { width: 100%; height: 16px; accent-color: var(--df-accent); }
.df-body { display: flex; flex-direction: column; flex: 1; min-height: 0; }
.df-main { display: flex; flex-direction: column; flex: 1; min-height: 160px; min-width: 0; }
.df-stage {
  position: relative; flex: 1; min-height: 0; overflow: hidden; touch-action: none; user-select: none; -webkit-user-select: none;
  background: color-mix(in srgb, var(--df-field) 72%, #000 12%);
}
.df-root .df-stage:focus-visible { outline: none; box-shadow: inset 0 0 0 1px var(--df-accent); }
.df-layer { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.df-viewbar { border-top: 1px solid var(--df-line); }
.df-segments { display: flex; background: var(--df-field); border-radius: 7px; padding: 2px; }
.df-segment {
  position: relative; border: 0; background: transparent; border-radius: 5px; padding: 2px 8px; font-size: 11px; cursor: pointer;
  color: var(--df-muted);
}
.df-root .df-segment { color: var(--df-muted); font-size: 11px; }
.df-root .df-segment[aria-pressed="true"] { background: var(--df-surface); color: var(--df-text); box-shadow: 0 1px 2px rgb(0 0 0 / 0.25); }
.df-root .df-percent {
  position: relative; border: 0; background: transparent; border-radius: 6px; padding: 3px 6px; font-size: 11px; cursor: pointer;
  color: var(--df-muted); font-variant-numeric: tabular-nums; white-space: nowrap;
}
.df-root .df-percent:hover { background: var(--df-hover); color: var(--df-text); }
.df-slider {
  position: absolute; top: 0; bottom: 0; width: 24px; margin-inline-start: -12px; cursor: ew-resize; touch-action: none;
}
.df-slider::before { content: ""; position: absolute; inset: 0 11px; background: #fff; box-shadow: 0 0 3px rgb(0 0 0 / 0.6); }
.df-slider::after {
  content: "‹ ›"; position: absolute; top: 50%; left: 50%; translate: -50% -50%; width: 26px; height: 26px; border-radius: 50%;
  display: grid; place-items: center; background: #fff; color: #333; font: 700 13px/1 system-ui; box-shadow: 0 1px 4px rgb(0 0 0 / 0.5);
}
.df-notice {
  position: absolute; left: 8px; right: 8px; top: 8px; width: fit-content; max-width: calc(100% - 16px); margin: 0 auto; pointer-events: none;
  display: flex; flex-wrap: wrap; gap: 4px 7px; align-items: center; padding: 5px 10px; border-radius: 8px; font-size: 11.5px;
  background: rgb(20 22 27 / 0.82); color: #f2f3f5; box-shadow: 0 1px 6px rgb(0 0 0 / 0.3);
}
.df-notice > span { flex: 1 1 150px; }
.df-run {
  flex: none; pointer-events: auto; border: 0; border-radius: 6px; padding: 3px 9px; cursor: pointer; background: #f2f3f5; font-weight: 600;
}
.df-root .df-run { color: #16181d; }
.df-root .df-run:hover { background: #fff; }
.df-stage[data-guess] .df-layer:first-child { filter: grayscale(0.55) contrast(0.75) brightness(1.08); }
.df-stage[data-guess]::after { content: ""; position: absolute; inset: 3px; border: 2px dashed var(--df-warn); border-radius: 6px; pointer-events: none; }
.df-running {
  position: absolute; left: 8px; right: 8px; bottom: 8px; padding: 4px 10px 6px; border-radius: 8px; overflow: hidden; pointer-events: none;
  background: rgb(20 22 27 / 0.82); color: #f2f3f5; font-size: 11.5px; font-variant-numeric: tabular-nums; box-shadow: 0 1px 6px rgb(0 0 0 / 0.3);
}
.df-done { position: absolute; left: 0; bottom: 0; height: 3px; background: var(--df-accent); transition: width 0.2s; }
.df-root .df-stage[data-running] :is(.df-whole, .df-notice[data-middle]) { bottom: 40px; }
.df-notice[data-middle] { top: auto; bottom: 8px; }
.df-side { min-width: 0; display: flex; flex-direction: column; border-top: 1px solid var(--df-line); min-height: 0; }
.df-operations { max-height: 118px; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; padding: 3px; }
.df-list { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: minmax(0, 1fr); gap: 1px; }
.df-row { display: flex; align-items: center; gap: 4px; padding: 1px 4px; border-radius: 6px; min-height: 28px; }
.df-row:hover { background: var(--df-hover); }
.df-row[aria-current] { background: var(--df-chosen); }
.df-row[data-hidden] > :not(.df-button) { opacity: 0.45; }
.df-swatch {
  position: relative; width: 14px; height: 14px; flex: none; padding: 0; border-radius: 5px; cursor: pointer;
  background: var(--df-colour); border: 1.5px solid color-mix(in srgb, var(--df-colour) 60%, #fff);
}
.df-root .df-name {
  flex: 1 1 40px; min-width: 0; height: 22px; padding: 0 5px; border: 0; border-radius: 5px; background: transparent; text-overflow: ellipsis;
}
.df-root .df-name::placeholder { color: var(--df-text); opacity: 0.85; }
.df-root .df-name:hover { background: var(--df-hover); }
.df-root .df-name:focus { background: var(--df-field); }
.df-root .df-task, .df-kind {
  height: 22px; max-width: 96px; min-width: 0; flex: 0 1 auto; padding: 0 2px; border: 0; border-radius: 5px; background: transparent; cursor: pointer;
  color: var(--df-muted); font-size: 11px;
}
.df-kind { display: inline-flex; align-items: center; gap: 3px; cursor: default; padding: 0 6px; }
.df-kind .df-icon { width: 14px; height: 14px; }
.df-root .df-task:hover { background: var(--df-hover); }
.df-root .df-task option { background: var(--df-field); color: var(--df-text); }
.df-verdict { position: relative; flex: none; color: var(--df-warn); }
.df-verdict[data-arrived="true"] { color: var(--df-good); }
.df-row .df-button { width: 22px; height: 22px; }
.df-row .df-along[data-has] { color: var(--df-text); }
.df-row .df-button .df-icon { width: 15px; height: 15px; }
.df-empty { margin: 0; padding: 8px 10px; color: var(--df-muted); }
.df-numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(84px, 1fr)); gap: 4px; padding: 5px 6px; border-top: 1px solid var(--df-line); }
.df-field { position: relative; display: flex; align-items: center; gap: 5px; background: var(--df-field); border-radius: 6px; padding: 0 6px; height: 24px; min-width: 0; }
.df-field span { color: var(--df-muted); font-size: 11px; white-space: nowrap; }
.df-root .df-number {
  flex: 1; width: 100%; min-width: 0; height: 22px; padding: 0; border: 0; background: transparent; text-align: end; font-variant-numeric: tabular-nums;
  appearance: textfield; -moz-appearance: textfield; outline: none;
}
.df-number::-webkit-inner-spin-button { display: none; }
.df-field:focus-within { box-shadow: 0 0 0 1.5px var(--df-accent); }
.df-root .df-number:focus-visible { outline: none; }
.df-changes { display: flex; gap: 2px; align-items: center; }
.df-end { grid-column: span 2; border: 0; cursor: pointer; }
.df-end .df-icon { width: 16px; height: 16px; color: var(--df-muted); }
.df-end span { overflow: hidden; text-overflow: ellipsis; }
.df-root .df-end:hover:not(:disabled) { background: color-mix(in srgb, var(--df-text) 8%, var(--df-field)); }
.df-root .df-end[aria-pressed="true"] { background: var(--df-chosen); }
.df-root .df-end[aria-pressed="true"] :is(span, .df-icon) { color: var(--df-text); }
.df-status {
  display: flex; gap: 10px; align-items: center; min-height: 24px; padding: 3px 9px; border-top: 1px solid var(--df-line); color: var(--df-muted); font-size: 11px;
}
.df-segment[data-old]::after { content: ""; display: inline-block; width: 6px; height: 6px; margin-inline-start: 5px; border-radius: 50%; background: var(--df-warn); vertical-align: 1px; }
.df-hint { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.df-hint[data-warning] { color: var(--df-text); }
.df-whole {
  position: absolute; left: 8px; right: 8px; bottom: 8px; width: fit-content; max-width: calc(100% - 16px); margin: 0 auto; padding: 5px 10px;
  border-radius: 8px; background: rgb(20 22 27 / 0.88); color: #f2f3f5; font-size: 11.5px; pointer-events: none; box-shadow: 0 1px 6px rgb(0 0 0 / 0.3);
}
.df-hint[data-warning]::before { content: "!"; display: inline-grid; place-items: center; width: 13px; height: 13px; margin-inline-end: 6px; border-radius: 50%; background: var(--df-warn); color: #fff; font: 700 10px/1 system-ui; }
.df-fact { white-space: nowrap; font-variant-numeric: tabular-nums; }
.df-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.df-root [data-tip]:is(:hover, :focus-visible)::after {
  content: attr(data-tip); position: absolute; z-index: 20; top: calc(100% + 5px); left: 0; width: max-content; max-width: 220px; padding: 4px 8px;
  border-radius: 6px; background: #16181d; color: #f2f3f5; font: 400 11px/1.35 Inter, system-ui, sans-serif; white-space: pre-line; text-align: start;
  pointer-events: none; box-shadow: 0 2px 8px rgb(0 0 0 / 0.35); animation: df-tip 0.15s 0.45s backwards;
}
.df-root .df-tip-left[data-tip]::after { left: auto !important; right: 0; }
.df-status .df-button { width: 20px; height: 20px; margin-inline-end: -4px; }
.df-status .df-icon { width: 16px; height: 16px; }
.df-root :is(.df-viewbar, .df-side, .df-status) [data-tip]:is(:hover, :focus-visible)::after { top: auto; bottom: calc(100% + 5px); }
.df-root .df-operations [data-tip]:is(:hover, :focus-visible)::after { display: none; }
@keyframes df-tip { from { opacity: 0; translate: 0 -2px; } }
.df-popover {
  position: fixed; inset: auto; margin: 0; padding: 5px; border: 1px solid var(--df-line); border-radius: 10px; background: var(--df-surface); color: var(--df-text);
  box-shadow: 0 8px 28px rgb(0 0 0 / 0.4); font: 400 12.5px/1.4 Inter, system-ui, sans-serif;
}
.df-popover hr { border: 0; border-top: 1px solid var(--df-line); margin: 4px 0; }
.df-menu { width: 250px; }
.df-item { display: flex; width: 100%; align-items: center; gap: 9px; padding: 5px 8px; border: 0; border-radius: 6px; background: transparent; cursor: pointer; text-align: start; }
.df-item:hover:not(:disabled), .df-item:focus-visible { background: var(--df-hover); }
.df-prompts { display: grid; gap: 3px; padding: 4px 8px; color: var(--df-muted); font-size: 11px; }
.df-root .df-prompt { width: 100%; resize: vertical; padding: 4px 6px; border: 0; border-radius: 6px; background: var(--df-field); color: var(--df-text); font-size: 12px; }
.df-help { inset: 0; margin: auto; width: min(760px, 94vw); height: fit-content; max-height: 88vh; overflow: auto; padding: 16px 20px; }
.df-help header { display: flex; align-items: center; justify-content: space-between; }
.df-help h2 { margin: 0; font-size: 16px; font-weight: 600; }
.df-help h3 { margin: 12px 0 4px; font-size: 12px; font-weight: 600; color: var(--df-muted); }
.df-help p { margin: 6px 0 0; color: var(--df-muted); white-space: pre-line; }
.df-columns { columns: 300px 2; column-gap: 28px; }
.df-columns section { break-inside: avoid; }
.df-help dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 12px; margin: 0; align-items: baseline; }
.df-help dt { display: flex; gap: 3px; justify-content: flex-end; }
.df-help dd { margin: 0; }
.df-help kbd {
  min-width: 20px; padding: 0 5px; border: 1px solid var(--df-line); border-bottom-width: 2px; border-radius: 5px; background: var(--df-field); text-align: center;
  font: 500 11px/1.6 Inter, system-ui, sans-serif; white-space: nowrap;
}
@container (min-width: 620px) {
  .df-body { flex-direction: row; }
  .df-root .df-task, .df-kind { max-width: 74px; }
  .df-side { width: 262px; border-top: 0; border-inline-start: 1px solid var(--df-line); }
  .df-operations { flex: 1; max-height: none; min-height: 0; }
  .df-numbers { grid-template-columns: 1fr 1fr; }
}
@container (min-width: 381px) and (max-width: 440px) {
  .df-toolbar .df-button { width: 24px; }
  .df-toolbar .df-group { gap: 0; }
}
@container (max-width: 380px) {
  .df-toolbar .df-button { width: 24px; }
  .df-toolbar .df-group { flex-wrap: wrap; }
  .df-rest .df-group { border-inline-start: 0; padding-inline-start: 0; }
  .df-toolbar { gap: 2px 4px; }
  .df-root .df-segment { padding: 2px 4px; font-size: 10.5px; }
  .df-root .df-percent { padding: 3px 2px; font-size: 10.5px; }
  .df-root .df-task { max-width: 74px; }
  .df-viewbar { flex-wrap: wrap; gap: 2px; padding: 4px; }
  .df-viewbar .df-space { min-width: 56px; }
  .df-viewbar .df-button { width: 24px; }
  .df-numbers { grid-template-columns: 1fr 1fr; }
}
@container (max-width: 290px) {
  .df-row { gap: 2px; padding: 1px 3px; }
  .df-row .df-button { width: 19px; }
  .df-root .df-task { max-width: 64px; }
}
@media (prefers-reduced-motion: reduce) {
  .df-root *, .df-root *::after { transition: none !important; animation: none !important; }
}
@media (pointer: coarse) {
  .df-toolbar .df-button, .df-viewbar .df-button { width: 32px; height: 32px; }
}
`;

/**
 * The sheet as an element of the canvas itself, which it comes and goes with: nothing is written to the page. Browsers parse equal sheets once.
 */
export function styles() {
  return h("style", {}, CSS);
}

/** The pictures of the buttons: the inside of a 20 x 20 SVG, drawn with lines in the colour of the text. */

const DOT = 'fill="currentColor" stroke="none"';
const DASHED = 'stroke-dasharray="2.4 2"';

/** @type {Record<string, string>} */
export const ICONS = {
  select: '<path d="M5 3.2l10.5 6.6-4.7 1.1-2.4 4.6z"/>',
  brush:
    '<path d="M16.6 3.4c-2.6 1-6 4-7.6 6.6l1.9 1.9c2.6-1.6 4.9-5.4 5.7-8.5z"/><path d="M8.2 11.2c-2.4-.3-3.2 1.3-3.4 2.8-.1.9-.7 1.6-1.6 2 2.6 1.2 6.6.5 6.7-3z"/>',
  eraser: '<path d="M8.2 16.3L3.6 11.7l7.6-7.6 4.9 4.9-7.3 7.3z"/><path d="M6.9 8.4l4.9 4.9"/><path d="M8.2 16.3h8.3"/>',
  lasso:
    '<path d="M5.8 12.6C3.9 11.7 2.8 10.3 2.8 8.7 2.8 5.9 6 3.7 10 3.7s7.2 2.2 7.2 5-3.2 5-7.2 5c-.9 0-1.8-.1-2.6-.3"/><circle cx="6.3" cy="13.3" r="1.6"/><path d="M6.2 14.9c.1 1.1-.4 1.9-1.5 2.3"/>',
  polygon:
    '<path d="M10 3.3l6.6 4.9-2.5 8H5.9l-2.5-8z"/><g fill="currentColor" stroke="none"><circle cx="10" cy="3.3" r="1.5"/><circle cx="16.6" cy="8.2" r="1.5"/><circle cx="14.1" cy="16.2" r="1.5"/><circle cx="5.9" cy="16.2" r="1.5"/><circle cx="3.4" cy="8.2" r="1.5"/></g>',
  rectangle: '<rect x="3.5" y="5" width="13" height="10" rx="1"/>',
  ellipse: '<ellipse cx="10" cy="10" rx="7" ry="5.4"/>',
  points: `<circle cx="4.8" cy="15.2" r="1.9"/><path d="M6.3 13.7l7.9-7.9"/><path d="M9.6 5.3h5.1v5.1"/>`,
  bend: `<path d="M3.500 8.500c4 0 5.500 1 7 3.200s3.200 3.300 6 3.300"/><path d="M3.500 4.500c6 0 8 2 9.800 4.500 1 1.400 1.700 2 3.200 2"/><circle cx="3.500" cy="6.500" r="1.500" ${DOT}/><circle cx="11" cy="9" r="1.500" ${DOT}/><circle cx="16.500" cy="13" r="1.900" fill="currentColor" fill-opacity=".25"/>`,
  mask: `<rect x="3" y="3.5" width="14" height="13" rx="2" ${DASHED}/><circle cx="10" cy="10" r="3.6" ${DOT}/>`,
  relocation:
    '<path d="M10 2.8v14.4M2.8 10h14.4"/><path d="M7.9 4.9L10 2.8l2.1 2.1M7.9 15.1l2.1 2.1 2.1-2.1M4.9 7.9L2.8 10l2.1 2.1M15.1 7.9l2.1 2.1-2.1 2.1"/>',
  rotation: `<path d="M16 11.2a6.1 6.1 0 1 1-1.7-5.7"/><path d="M14.7 2.6v3.2h-3.2"/><circle cx="10" cy="10" r="1.3" ${DOT}/>`,
  deformation: `<path d="M3.5 6.5v7"/><path d="M3.5 6.5C7.5 6.5 9 7.8 16 8.6M3.5 13.5c4 0 5.5-1.3 12.5-2.1"/><path d="M16.8 10h-6M14.7 7.8L16.9 10l-2.2 2.2"/>`,
  copy: `<rect x="3" y="7.5" width="8" height="8" rx="1.5" ${DASHED}/><rect x="9" y="4" width="8" height="8" rx="1.5"/>`,
  front: `<path d="M7.500 12.500h-3.500a1 1 0 0 1-1-1v-6a1 1 0 0 1 1-1h8.500a1 1 0 0 1 1 1v1.500" ${DASHED}/><rect x="7.500" y="8" width="9.500" height="8" rx="1" fill="currentColor" fill-opacity=".35"/>`,
  flipX: `<path d="M10 3v14" ${DASHED}/><path d="M7.5 6v8H2.8z" fill="currentColor"/><path d="M12.5 6v8h4.7z"/>`,
  flipY: `<path d="M3 10h14" ${DASHED}/><path d="M6 7.5h8V2.8z" fill="currentColor"/><path d="M6 12.5h8v4.7z"/>`,
  hold: `<path d="M4 3.5v13"/><path d="M4 10h9"/><circle cx="14.6" cy="10" r="1.9"/>`,
  pin: '<path d="M7.3 3.2h5.4M8.2 3.2v4.6L5.9 10.7h8.2l-2.3-2.9V3.2M10 10.7v6.1"/>',
  along: `<rect x="3.5" y="3.5" width="9" height="7.5" rx="1"/><path d="M6.5 14.5l2-2M9.5 16.500l5-5M13 16.500l3.5-3.5M5.500 16.500h11.500" ${DASHED.replace("2.4 2", "none")}/>`,
  selected: `<path d="M10 3.500c3.800 0 6 2.300 6 5.300s-2.600 5.700-6 5.700-6-2.700-6-5.700 2.200-5.300 6-5.300z" ${DASHED}/><path d="M10 9.200v7.600l1.900-1.800 1.300 2.500 1.400-.7-1.300-2.500 2.500-.3z" fill="currentColor"/>`,
  undo: '<path d="M7 4.2L3.8 7.4 7 10.6"/><path d="M4 7.4h7.6a4.3 4.3 0 0 1 0 8.6H8"/>',
  redo: '<path d="M13 4.2l3.2 3.2-3.2 3.2"/><path d="M16 7.4H8.4a4.3 4.3 0 0 0 0 8.6H12"/>',
  eye: '<path d="M2.5 10S5.3 5.2 10 5.2 17.5 10 17.5 10 14.7 14.8 10 14.8 2.5 10 2.5 10z"/><circle cx="10" cy="10" r="2.2"/>',
  hidden:
    '<path d="M4.7 7.1C3.3 8.4 2.5 10 2.5 10S5.3 14.8 10 14.8c1.3 0 2.5-.4 3.5-.9M8 5.5c.6-.2 1.3-.3 2-.3 4.7 0 7.5 4.8 7.5 4.8s-.6 1.1-1.7 2.2"/><path d="M3.5 3.5l13 13"/>',
  remove: '<path d="M4 5.7h12M8 5.7V3.8h4v1.9M5.5 5.7l.7 10.5h7.6l.7-10.5M8.5 8.6v4.9M11.5 8.6v4.9"/>',
  duplicate:
    '<rect x="7" y="7" width="9.5" height="9.5" rx="1.5"/><path d="M13 4.8v-.3A1.5 1.5 0 0 0 11.5 3h-7A1.5 1.5 0 0 0 3 4.5v7A1.5 1.5 0 0 0 4.5 13h.3"/>',
  more: `<g ${DOT}><circle cx="4.5" cy="10" r="1.5"/><circle cx="10" cy="10" r="1.5"/><circle cx="15.5" cy="10" r="1.5"/></g>`,
  help: `<circle cx="10" cy="10" r="7"/><path d="M7.9 8c.1-1.3 1-2 2.2-2 1.2 0 2.1.8 2.1 1.9 0 1.5-2.1 1.8-2.1 3.3"/><circle cx="10.1" cy="13.7" r=".9" ${DOT}/>`,
  fit: '<path d="M3.5 7.2V3.5h3.7M12.8 3.5h3.7v3.7M16.5 12.8v3.7h-3.7M7.2 16.5H3.5v-3.7"/><rect x="6.8" y="7.6" width="6.4" height="4.8" rx=".6"/>',
  compare: `<rect x="3" y="4" width="14" height="12" rx="1.5"/><path d="M10 2.5v15"/><path d="M10 4h5.5A1.5 1.5 0 0 1 17 5.5v9a1.5 1.5 0 0 1-1.5 1.5H10z" fill="currentColor" fill-opacity=".35" stroke="none"/>`,
  area: `<path d="M5 5.6C7 3.6 13 3.2 15.3 5.8s1.7 7.4-.8 9-7.6 1.4-9.6-.6S3 7.6 5 5.6z" ${DASHED}/>`,
  arrived: '<circle cx="10" cy="10" r="7"/><path d="M6.7 10.3l2.3 2.3 4.4-4.8"/>',
  missed: '<circle cx="10" cy="10" r="7"/><path d="M7.4 7.4l5.2 5.2M12.6 7.4l-5.2 5.2"/>',
  warning: `<path d="M10 3.2l7.3 12.9H2.7z"/><path d="M10 8v4"/><circle cx="10" cy="14" r=".9" ${DOT}/>`,
  link: '<path d="M8.5 11.5l3-3"/><path d="M9.5 6.7l1.6-1.6a2.7 2.7 0 0 1 3.8 3.8l-1.6 1.6M10.5 13.3l-1.6 1.6a2.7 2.7 0 0 1-3.8-3.8l1.6-1.6"/>',
  open: '<path d="M3 15.5V5.5A1.5 1.5 0 0 1 4.5 4h3l1.8 2h6.2A1.5 1.5 0 0 1 17 7.5v1"/><path d="M3 15.5l2-6.5h12.5l-2 6.5z"/>',
  save: '<path d="M10 3.5v8.5M6.5 8.7L10 12.2l3.5-3.5"/><path d="M3.5 13v2A1.5 1.5 0 0 0 5 16.5h10a1.5 1.5 0 0 0 1.5-1.5v-2"/>',
  picture:
    '<rect x="2.8" y="4" width="14.4" height="12" rx="1.6"/><circle cx="7" cy="8" r="1.4"/><path d="M3 14l4.2-3.6 2.8 2.3 3.3-3.4 3.7 3.7"/>',
};

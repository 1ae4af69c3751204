/** Line icons on a 20 × 20 grid, drawn for this viewer. */
const PATHS = {
  back: 'M12 4.5 6.5 10l5.5 5.5',
  scroll: 'M10 3v14M6.5 6.5 10 3l3.5 3.5M6.5 13.5 10 17l3.5-3.5',
  window: 'M10 3.2a6.8 6.8 0 1 0 0 13.6 6.8 6.8 0 0 0 0-13.6M10 3.2v13.6M10 6h5.3M10 9h6.6M10 12h6.4M10 15h4.4',
  pan: 'M10 2.8v14.4M2.8 10h14.4M8 4.8l2-2 2 2M8 15.2l2 2 2-2M4.8 8l-2 2 2 2M15.2 8l2 2-2 2',
  zoom: 'M8.7 3.5a5.2 5.2 0 1 0 0 10.4 5.2 5.2 0 0 0 0-10.4M12.5 12.5 17 17M8.7 6.5v4.4M6.5 8.7h4.4',
  length: 'M4 16 16 4M2.6 12.9l4.5 4.5M12.9 2.6l4.5 4.5',
  ellipse: 'M10 5.2c4.2 0 7 2 7 4.8s-2.8 4.8-7 4.8S3 12.8 3 10s2.8-4.8 7-4.8',
  rectangle: 'M3.5 5h13v10h-13z',
  angle: 'M16.5 15.5H3.5L12.5 4.5M8.5 9.4c1.7 1.2 2.8 3.3 2.8 6.1',
  arrow: 'M3.5 16.5 11 9M11 13.3V9H6.7M12.5 4h5M15 4v5',
  presets: 'M3 6h8M15 6h2M3 10h2M9 10h8M3 14h7M14 14h3M13 4.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6M7 8.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6M12 12.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6',
  invert: 'M10 3.2a6.8 6.8 0 1 0 0 13.6 6.8 6.8 0 0 0 0-13.6M10 3.2v13.6',
  rotate: 'M15.8 8.2A6.3 6.3 0 1 0 16.3 11M16.5 4.2v4.2h-4.2',
  flipHorizontal: 'M10 2.5v15M7.5 5.5v9L3 14.5zM12.5 5.5v9l4.5 0z',
  flipVertical: 'M2.5 10h15M5.5 7.5h9L14.5 3zM5.5 12.5h9l0 4.5z',
  reset: 'M4.2 8.2A6.3 6.3 0 1 1 3.7 11M3.5 4.2v4.2h4.2',
  layoutOne: 'M3.5 4h13v12h-13z',
  layoutTwo: 'M3.5 4h13v12h-13zM10 4v12',
  layoutFour: 'M3.5 4h13v12h-13zM10 4v12M3.5 10h13',
  cine: 'M6.5 4.5v11L15.5 10z',
  pause: 'M7 4.5v11M13 4.5v11',
  mpr: 'M10 2.8 16.5 6.2v7.4L10 17.2l-6.5-3.6V6.2zM10 9.8v7.4M3.5 6.2l6.5 3.6 6.5-3.6',
  crosshairs: 'M10 2.5v5M10 12.5v5M2.5 10h5M12.5 10h5',
  fullScreen: 'M3.5 7.5v-4h4M16.5 7.5v-4h-4M3.5 12.5v4h4M16.5 12.5v4h-4',
  help: 'M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14M7.9 8c.1-1.3 1-2 2.2-2s2.1.8 2.1 1.9c0 1.6-2.2 1.7-2.2 3.4M10 13.7v.3',
  panel: 'M3.5 4h13v12h-13zM12 4v12',
  rail: 'M3.5 4h13v12h-13zM7.5 4v12',
  hideMarks: 'M2.8 10S5.5 5 10 5s7.2 5 7.2 5-2.7 5-7.2 5-7.2-5-7.2-5M10 7.8a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4',
  remove: 'M5 5l10 10M15 5 5 15',
  insert: 'M3.5 10h9M9.5 6.5 13 10l-3.5 3.5M16.5 4v12',
  lock: 'M5 9h10v7.5H5zM7 9V6.8a3 3 0 0 1 6 0V9',
  document: 'M5.5 3h6l3.5 3.5V17h-9.5zM11.5 3v3.5H15M8 10h4.5M8 13h4.5',
  warning: 'M10 3.5 17.5 16.5h-15zM10 8.5v4M10 14.2v.3',
  check: 'M4 10.5 8.2 14.5 16 6',
  chevron: 'M6 8l4 4 4-4',
} as const;

export type IconName = keyof typeof PATHS;

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}

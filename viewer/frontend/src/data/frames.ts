/** A series' metadata turned into the list of frames a viewer scrolls through, in slice order. */
import { cross, dot, unit, type Vec3 } from '../geometry/vector';
import { items, number, numbers, string, strings, type DataSet } from './json';
import { imageSpacing, regionSpacing, type Spacing } from './spacing';

export interface Frame {
  imageId: string;
  sopInstanceUid: string;
  sopClassUid: string;
  /** Counted from 1, as in DICOM. */
  frame: number;
  instanceNumber: number | null;
  rows: number;
  columns: number;
  samplesPerPixel: number;
  photometric: string;
  /** Image Position (Patient), mm. */
  position: Vec3 | null;
  /** Image Orientation (Patient): six cosines. */
  orientation: readonly number[] | null;
  /** Patient Orientation (0020,0020), where there is no Image Orientation. */
  patientOrientation: readonly [string, string] | null;
  spacing: Spacing | null;
  /** What the scale bar uses: `spacing`, or the ultrasound region's. */
  scale: Spacing | null;
  sliceThickness: number | null;
  sliceLocation: number | null;
  frameOfReferenceUid: string | null;
  transferSyntaxUid: string | null;
  /** Milliseconds between frames, for cine. */
  frameTime: number | null;
  /** Lossy compression ratio, 0 when lossy by an unknown ratio, null when lossless. */
  lossy: number | null;
  rescaleUnit: string;
  modality: string;
}

export interface SeriesAddress {
  /** `/dicom-web`, absolute with origin, no slash at the end. */
  root: string;
  studyUid: string;
  seriesUid: string;
}

export function imageIdOf(address: SeriesAddress, sopInstanceUid: string, frame: number): string {
  const { root, studyUid, seriesUid } = address;
  return `wadors:${root}/studies/${studyUid}/series/${seriesUid}/instances/${sopInstanceUid}/frames/${frame}`;
}

/** The image this data set holds is one a browser can show as frames. */
export function isImage(dataSet: DataSet): boolean {
  return (number(dataSet, '00280010') ?? 0) > 0 && (number(dataSet, '00280011') ?? 0) > 0;
}

/** Colour models the decoder turns into RGB; anything else would never finish loading. */
const PHOTOMETRIC: ReadonlySet<string> = new Set([
  'MONOCHROME1', 'MONOCHROME2', 'PALETTE COLOR', 'RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_RCT', 'YBR_ICT', 'YBR_PARTIAL_420',
]);

/** MPEG-2, MPEG-4 and HEVC (PS3.5 A.4.5 to A.4.8): films, not frames. */
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?$/;

export const viewable = (frame: Frame): boolean => PHOTOMETRIC.has(frame.photometric) && !VIDEO.test(frame.transferSyntaxUid ?? '');

function frameTime(dataSet: DataSet): number | null {
  const direct = number(dataSet, '00181063');
  if (direct && direct > 0) return direct;
  const vector = numbers(dataSet, '00181065', 2);
  if (vector && vector[1]! > 0) return vector[1]!;
  const rate = number(dataSet, '00082144') ?? number(dataSet, '00180040');
  return rate && rate > 0 ? 1000 / rate : null;
}

function instanceFrames(dataSet: DataSet, address: SeriesAddress): Frame[] {
  const sopInstanceUid = string(dataSet, '00080018');
  const count = Math.max(1, number(dataSet, '00280008') ?? 1);
  const shared = items(dataSet, '52009229')[0];
  const perFrame = items(dataSet, '52009230');
  const orientationText = strings(dataSet, '00200020');
  const lossy = string(dataSet, '00282110') === '01';
  const common = {
    sopInstanceUid,
    sopClassUid: string(dataSet, '00080016'),
    instanceNumber: number(dataSet, '00200013'),
    rows: number(dataSet, '00280010') ?? 0,
    columns: number(dataSet, '00280011') ?? 0,
    samplesPerPixel: number(dataSet, '00280002') ?? 1,
    photometric: string(dataSet, '00280004'),
    frameOfReferenceUid: string(dataSet, '00200052') || null,
    transferSyntaxUid: string(dataSet, '00083002') || string(dataSet, '00020010') || null,
    frameTime: frameTime(dataSet),
    lossy: lossy ? (number(dataSet, '00282112') ?? 0) : null,
    rescaleUnit: string(dataSet, '00281054'),
    modality: string(dataSet, '00080060'),
  };
  return Array.from({ length: count }, (_, index): Frame => {
    const groups = [perFrame[index], shared].filter((group): group is DataSet => group !== undefined);
    const within = (sequence: string, tag: string, n: number): number[] | null => {
      for (const group of groups) {
        const found = numbers(items(group, sequence)[0], tag, n);
        if (found) return found;
      }
      return null;
    };
    const position = within('00209113', '00200032', 3) ?? (count === 1 ? numbers(dataSet, '00200032', 3) : null);
    const orientation = within('00209116', '00200037', 6) ?? numbers(dataSet, '00200037', 6);
    const spacing = imageSpacing(dataSet, groups);
    return {
      ...common,
      imageId: imageIdOf(address, sopInstanceUid, index + 1),
      frame: index + 1,
      position: position ? [position[0]!, position[1]!, position[2]!] : null,
      orientation: orientation ? orientation.slice(0, 6) : null,
      patientOrientation: orientationText.length >= 2 ? [orientationText[0]!, orientationText[1]!] : null,
      spacing,
      scale: spacing ?? regionSpacing(dataSet),
      sliceThickness: within('00289110', '00180050', 1)?.[0] ?? number(dataSet, '00180050'),
      sliceLocation: number(dataSet, '00201041'),
    };
  });
}

/** Distance along the first frame's normal for every frame; null unless all lie in parallel planes at different depths. */
function depths(frames: readonly Frame[]): number[] | null {
  const o = frames[0]?.orientation;
  if (!o) return null;
  const normal = unit(cross([o[0]!, o[1]!, o[2]!], [o[3]!, o[4]!, o[5]!]));
  const parallel = frames.every(
    (frame) => frame.position && frame.orientation?.every((value, i) => Math.abs(value - o[i]!) < 1e-2),
  );
  if (!parallel) return null;
  const found = frames.map((frame) => dot(frame.position!, normal));
  const distinct = new Set(found.map((depth) => depth.toFixed(2)));
  // The same place twice means phases, echoes or b-values: their own numbering tells the story, space does not.
  return distinct.size === frames.length ? found : null;
}

/** All frames of a series in the order a person scrolls through them. */
export function buildFrames(dataSets: readonly DataSet[], address: SeriesAddress): Frame[] {
  const numbered = dataSets
    .filter(isImage)
    .flatMap((dataSet) => instanceFrames(dataSet, address))
    .map((frame, order) => ({ frame, order }));
  numbered.sort(
    (a, b) =>
      (a.frame.instanceNumber ?? Infinity) - (b.frame.instanceNumber ?? Infinity) ||
      (a.frame.sopInstanceUid === b.frame.sopInstanceUid ? a.frame.frame - b.frame.frame : a.order - b.order) || 0,
  );
  const frames = numbered.map(({ frame }) => frame);
  const depth = depths(frames);
  if (!depth || frames.length < 2) return frames;
  const byDepth = frames.map((frame, i) => ({ frame, depth: depth[i]! })).sort((a, b) => a.depth - b.depth);
  // Keep the direction the series was numbered in: radiologists read a chest from the apex down if it was sent so.
  const descending = depth[0]! > depth[depth.length - 1]!;
  const sorted = byDepth.map((entry) => entry.frame);
  return descending ? sorted.reverse() : sorted;
}

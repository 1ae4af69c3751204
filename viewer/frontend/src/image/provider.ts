/**
 * Metadata Cornerstone asks for, where its own reading of DICOM JSON would mislead.
 *
 * - Pixel spacing: its provider ignores Imager Pixel Spacing and the functional groups' finer points.
 * - Frame of reference: annotations are filed under it; images without one get their series' UID so that two
 *   unrelated ultrasound clips do not share marks.
 */
import { Enums, metaData } from '@cornerstonejs/core';
import { wadors } from '@cornerstonejs/dicom-image-loader';
import type { LoadedSeries } from '../data/dicomweb';
import type { Frame } from '../data/frames';

const frames = new Map<string, { frame: Frame; seriesUid: string }>();

/** Ahead of the loader's own provider (priority 0). */
const PRIORITY = 1000;

function imagePlane(imageId: string): unknown {
  const known = frames.get(imageId);
  if (!known) return undefined;
  const { frame, seriesUid } = known;
  const orientation = [...(frame.orientation ?? [1, 0, 0, 0, 1, 0])];
  return {
    frameOfReferenceUID: frame.frameOfReferenceUid ?? seriesUid,
    rows: frame.rows,
    columns: frame.columns,
    imageOrientationPatient: orientation,
    rowCosines: orientation.slice(0, 3),
    columnCosines: orientation.slice(3, 6),
    imagePositionPatient: [...(frame.position ?? [0, 0, 0])],
    sliceThickness: frame.sliceThickness ?? undefined,
    sliceLocation: frame.sliceLocation ?? undefined,
    pixelSpacing: frame.spacing ? [frame.spacing.row, frame.spacing.column] : undefined,
    // Something must be drawn: one pixel is one unit. What is measured in such units is called pixels (measurements.ts).
    rowPixelSpacing: frame.spacing?.row ?? 1,
    columnPixelSpacing: frame.spacing?.column ?? 1,
    usingDefaultValues: !(frame.spacing && frame.orientation && frame.position),
  };
}

export function addGeometryProvider(): void {
  metaData.addProvider((type: string, ...queries: unknown[]) => {
    const imageId = queries[0];
    if (typeof imageId !== 'string') return undefined;
    return type === Enums.MetadataModules.IMAGE_PLANE ? imagePlane(imageId) : undefined;
  }, PRIORITY);
}

/** Make a series known to the image loader; must come before the first of its images is asked for. */
export function registerSeries(loaded: LoadedSeries): void {
  for (const frame of loaded.frames) {
    if (frames.has(frame.imageId)) continue;
    frames.set(frame.imageId, { frame, seriesUid: loaded.series.uid });
    const dataSet = loaded.dataSets.get(frame.sopInstanceUid);
    // For multi-frame images the loader derives the other frames' metadata from frame 1.
    if (dataSet && frame.frame === 1) wadors.metaDataManager.add(frame.imageId, { ...dataSet } as never);
  }
}

export const frameOf = (imageId: string): Frame | null => frames.get(imageId)?.frame ?? null;
export const seriesUidOf = (imageId: string): string | null => frames.get(imageId)?.seriesUid ?? null;

/** Image id of a stored reference, if its series has been loaded. */
export function findImageId(seriesUid: string, sopInstanceUid: string, frame: number): string | null {
  for (const [imageId, known] of frames) {
    if (known.seriesUid === seriesUid && known.frame.sopInstanceUid === sopInstanceUid && known.frame.frame === frame) return imageId;
  }
  return null;
}

import { describe, expect, it } from 'vitest';
import { collapsed, fromStored, toStored, type DrawnMark } from '../src/annotations/convert';
import { measurementLines, measurementsOf, type Words } from '../src/annotations/measurements';
import type { StoredMark } from '../src/annotations/types';
import type { Frame } from '../src/data/frames';
import type { Plane } from '../src/geometry/plane';
import { en } from '../src/i18n/en';

const plane: Plane = { position: [-100, -100, 50], row: [1, 0, 0], column: [0, 1, 0], columnSpacing: 0.5, rowSpacing: 0.5 };

const frame = (more: Partial<Frame> = {}): Frame => ({
  imageId: 'wadors:x/frames/1', sopInstanceUid: '1.2', sopClassUid: '1', frame: 1, instanceNumber: 1, rows: 512, columns: 512,
  samplesPerPixel: 1, photometric: 'MONOCHROME2', position: [-100, -100, 50], orientation: [1, 0, 0, 0, 1, 0],
  patientOrientation: null, spacing: { row: 0.5, column: 0.5, source: 'patient' }, scale: null, sliceThickness: 5, sliceLocation: null,
  frameOfReferenceUid: '9.9', transferSyntaxUid: null, frameTime: null, lossy: null, rescaleUnit: '', modality: 'CT', ...more,
});

const length = (stats: object = { length: 10, unit: 'mm' }): DrawnMark => ({
  annotationUID: 'u1',
  metadata: { toolName: 'Length', FrameOfReferenceUID: '9.9', referencedImageId: 'wadors:x/frames/1' },
  data: { label: '', handles: { points: [Float32Array.from([-99, -98, 50]), [-93, -90, 50]], textBox: { hasMoved: true, worldPosition: [1, 2, 3] } }, cachedStats: { 'imageId:wadors:x/frames/1': stats } },
});

const words: Words = { unit: en.unit, atDetector: en.atDetector, measure: en.measure, number: (value, digits) => value.toFixed(digits) };

describe('drawn → stored', () => {
  it('keeps patient and SCOORD coordinates', () => {
    const stored = toStored({ mark: length(), frame: frame(), seriesUid: '5', plane, backend: 'gpu' })!;
    expect(stored.points_world).toEqual([[-99, -98, 50], [-93, -90, 50]]);
    expect(stored.points_image).toEqual([[2.5, 4.5], [14.5, 20.5]]);
    expect(stored.measurements).toEqual({ length: { value: 10, unit: 'mm' } });
    expect(stored).toMatchObject({ uid: 'u1', tool: 'length', series_instance_uid: '5', sop_instance_uid: '1.2', frame: 1, frame_of_reference_uid: '9.9', backend: 'gpu' });
    expect(JSON.parse(JSON.stringify(stored))).toEqual(stored);
  });

  it('claims no patient coordinates where the image has none', () => {
    const stored = toStored({ mark: length(), frame: frame({ position: null, orientation: null, spacing: null, frameOfReferenceUid: null }), seriesUid: '5', plane, backend: 'cpu' })!;
    expect(stored.points_world).toBeNull();
    expect(stored.frame_of_reference_uid).toBeNull();
    expect(stored.points_image).toHaveLength(2);
    expect(stored.measurements.length).toEqual({ value: 10, unit: '{pixels}' });
  });

  it('waits for unfinished shapes and ignores strangers', () => {
    const angle = length();
    angle.metadata!.toolName = 'Angle';
    expect(toStored({ mark: angle, frame: frame(), seriesUid: '5', plane, backend: 'gpu' })).toBeNull();
    const other = length();
    other.metadata!.toolName = 'Crosshairs';
    expect(toStored({ mark: other, frame: frame(), seriesUid: '5', plane, backend: 'gpu' })).toBeNull();
    const broken = length();
    broken.data.handles!.points = [[Number.NaN, 0, 0], [1, 1, 1]];
    expect(toStored({ mark: broken, frame: frame(), seriesUid: '5', plane, backend: 'gpu' })).toBeNull();
  });
});

describe('marks that measure nothing', () => {
  it('are not stored', () => {
    const dot = length();
    dot.data.handles!.points = [[-99, -98, 50], [-99, -97.9, 50]];
    expect(toStored({ mark: dot, frame: frame(), seriesUid: '5', plane, backend: 'gpu' })).toBeNull();
    expect(collapsed('length', [[1, 1], [1, 2]])).toBe(false);
    expect(collapsed('rectangle', [[1, 1], [40, 1], [1, 1.2], [40, 1.2]])).toBe(true);
    expect(collapsed('ellipse', [[5, 1], [5, 9], [1, 5], [9, 5]])).toBe(false);
  });
});

describe('stored → drawn', () => {
  it('round-trips through JSON', () => {
    const stored = JSON.parse(JSON.stringify(toStored({ mark: length(), frame: frame(), seriesUid: '5', plane, backend: 'gpu' }))) as StoredMark;
    const drawn = fromStored(stored, 'wadors:y/frames/1', plane, '9.9', [0, 0, 1])!;
    expect(drawn.data.handles!.points).toEqual([[-99, -98, 50], [-93, -90, 50]]);
    expect(drawn.data.handles!.textBox).toMatchObject({ hasMoved: true, worldPosition: [1, 2, 3] });
    expect(drawn.metadata).toMatchObject({ toolName: 'Length', referencedImageId: 'wadors:y/frames/1', FrameOfReferenceUID: '9.9' });
    const again = toStored({ mark: { ...drawn, data: { ...drawn.data, cachedStats: length().data.cachedStats } }, frame: frame(), seriesUid: '5', plane, backend: 'gpu' });
    expect(again).toEqual(stored);
  });

  it('restores which end of an arrow is its head', () => {
    const arrow = length();
    arrow.metadata!.toolName = 'ArrowAnnotate';
    arrow.data.label = 'Очаг';
    arrow.data.handles!.arrowFirst = true;
    const stored = toStored({ mark: arrow, frame: frame(), seriesUid: '5', plane, backend: 'gpu' })!;
    expect(stored).toMatchObject({ tool: 'arrow', label: 'Очаг', measurements: {} });
    expect(fromStored(stored, 'i', plane, '9.9', [0, 0, 1])!.data).toMatchObject({ label: 'Очаг', handles: { arrowFirst: true } });
  });
});

describe('measurements', () => {
  const stats = { area: 100, areaUnit: 'mm²', mean: 41.234, stdDev: 8, min: -5, max: 99 };

  it('speaks UCUM', () => {
    expect(measurementsOf('ellipse', stats, frame())).toEqual({
      area: { value: 100, unit: 'mm2' }, mean: { value: 41.234, unit: "[hnsf'U]" }, std: { value: 8, unit: "[hnsf'U]" },
      min: { value: -5, unit: "[hnsf'U]" }, max: { value: 99, unit: "[hnsf'U]" },
    });
    expect(measurementsOf('ellipse', stats, frame({ modality: 'MR' })).mean?.unit).toBe('1');
    expect(measurementsOf('ellipse', stats, frame({ rescaleUnit: 'US' })).mean?.unit).toBe('1');
    expect(measurementsOf('angle', { angle: 'Incomplete Angle' }, frame())).toEqual({});
  });

  it('turns ultrasound centimetres into millimetres', () => {
    const clip = frame({ spacing: null, modality: 'US', samplesPerPixel: 3 });
    expect(measurementsOf('length', { length: 1.5, unit: 'cm US Region' }, clip)).toEqual({ length: { value: 15, unit: 'mm' } });
    expect(measurementsOf('rectangle', { ...stats, area: 2, areaUnit: 'cm² US Region' }, clip)).toEqual({ area: { value: 200, unit: 'mm2' } });
  });

  it('never calls a pixel a millimetre', () => {
    expect(measurementsOf('length', { length: 33, unit: 'mm' }, frame({ spacing: null }))).toEqual({ length: { value: 33, unit: '{pixels}' } });
  });

  it('writes lines for people', () => {
    expect(measurementLines(measurementsOf('ellipse', stats, frame()), false, words)).toEqual(['100 mm²', 'Mean 41 ± 8 HU', '-5 … 99']);
    expect(measurementLines({ length: { value: 12.34, unit: 'mm' } }, true, words)).toEqual(['12.3 mm (at detector)']);
    expect(measurementLines({ angle: { value: 31.2, unit: 'deg' } }, false, words)).toEqual(['31.2°']);
    expect(measurementLines({ length: { value: 33, unit: '{pixels}' } }, true, words)).toEqual(['33.0 px']);
  });
});

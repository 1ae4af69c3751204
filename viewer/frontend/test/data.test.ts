import { describe, expect, it } from 'vitest';
import { buildFrames, type Frame } from '../src/data/frames';
import type { DataSet } from '../src/data/json';
import { onlyPart } from '../src/data/dicomweb';
import { expandSegments, resolvePalette, tableEntries } from '../src/data/palette';
import { buildSeries, firstToOpen } from '../src/data/series';
import { imageSpacing, regionSpacing } from '../src/data/spacing';
import { whyNotVolume } from '../src/geometry/volume';

const address = { root: 'http://h/dicom-web', studyUid: '1', seriesUid: '2' };
const v = (...Value: unknown[]) => ({ Value });

function slice(n: number, z: number, more: DataSet = {}): DataSet {
  return {
    '00080018': v(`1.${n}`), '00080060': v('CT'), '00200013': v(n), '00200052': v('9'),
    '00280010': v(64), '00280011': v(64), '00280002': v(1), '00280004': v('MONOCHROME2'), '00280030': v(0.5, 0.5),
    '00200032': v(-10, -10, z), '00200037': v(1, 0, 0, 0, 1, 0), ...more,
  };
}

const uids = (frames: Frame[]) => frames.map((frame) => frame.sopInstanceUid);

describe('frames', () => {
  it('orders by position in space, keeping the direction of numbering', () => {
    const sets = [slice(3, 10), slice(1, 30), slice(2, 20), slice(4, 0)];
    expect(uids(buildFrames(sets, address))).toEqual(['1.1', '1.2', '1.3', '1.4']);
    const upwards = [slice(2, 20), slice(1, 10), slice(3, 30)];
    expect(uids(buildFrames(upwards, address))).toEqual(['1.1', '1.2', '1.3']);
  });

  it('trusts space more than numbers that contradict each other', () => {
    expect(uids(buildFrames([slice(1, 0), slice(2, 20), slice(3, 10), slice(4, 30)], address))).toEqual(['1.1', '1.3', '1.2', '1.4']);
  });

  it('keeps the numbering where the same place comes twice (phases, echoes)', () => {
    expect(uids(buildFrames([slice(2, 10), slice(1, 0), slice(4, 10), slice(3, 0)], address))).toEqual(['1.1', '1.2', '1.3', '1.4']);
  });

  it('opens up a multi-frame image', () => {
    const clip = slice(1, 0, { '00280008': v(3), '00181063': v(40) });
    const frames = buildFrames([clip], address);
    expect(frames.map((frame) => frame.frame)).toEqual([1, 2, 3]);
    expect(frames[2]!.imageId).toBe('wadors:http://h/dicom-web/studies/1/series/2/instances/1.1/frames/3');
    expect(frames[0]!.frameTime).toBe(40);
    expect(frames[0]!.position).toBeNull();
  });

  it('reads functional groups of an enhanced image', () => {
    const at = (z: number) => ({ '00209113': v({ '00200032': v(0, 0, z) }) });
    const enhanced = slice(1, 0, {
      '00280008': v(3), '00280030': undefined, '00200032': undefined, '00200037': undefined,
      '52009229': v({ '00289110': v({ '00280030': v(2, 1), '00180050': v(4) }), '00209116': v({ '00200037': v(1, 0, 0, 0, 1, 0) }) }),
      '52009230': v(at(0), at(8), at(4)),
    });
    const frames = buildFrames([enhanced], address);
    expect(frames.map((frame) => frame.frame)).toEqual([1, 3, 2]);
    expect(frames[0]!.spacing).toEqual({ row: 2, column: 1, source: 'patient' });
    expect(frames[0]!.sliceThickness).toBe(4);
  });

  it('leaves out what is not an image', () => {
    expect(buildFrames([{ '00080018': v('1.1'), '00080060': v('SR') }], address)).toEqual([]);
  });
});

describe('spacing', () => {
  it('marks sizes at the detector', () => {
    expect(imageSpacing({ '00181164': v(0.2, 0.2) })).toEqual({ row: 0.2, column: 0.2, source: 'detector' });
    expect(imageSpacing({ '00181164': v(0.2, 0.2), '00280030': v(0.2, 0.2) })?.source).toBe('detector');
    expect(imageSpacing({ '00181164': v(0.2, 0.2), '00280030': v(0.15, 0.15) })).toEqual({ row: 0.15, column: 0.15, source: 'patient' });
    expect(imageSpacing({ '00181164': v(0.2, 0.2), '00280030': v(0.2, 0.2), '00280A02': v('FIDUCIAL') })?.source).toBe('patient');
  });

  it('corrects for a stated magnification', () => {
    expect(imageSpacing({ '00181164': v(0.2, 0.2), '00181114': v(2) })).toEqual({ row: 0.1, column: 0.1, source: 'patient' });
  });

  it('admits not knowing', () => {
    expect(imageSpacing({})).toBeNull();
    expect(imageSpacing({ '00280030': v('', '') })).toBeNull();
    expect(imageSpacing({ '00280030': v(0, 0) })).toBeNull();
  });

  it('finds the largest ultrasound region in centimetres', () => {
    const region = (dx: number, units: number, width: number) => ({
      '0018602C': v(dx), '0018602E': v(dx), '00186024': v(units), '00186026': v(units),
      '00186018': v(0), '0018601A': v(0), '0018601C': v(width), '0018601E': v(width),
    });
    expect(regionSpacing({ '00186011': v(region(0.01, 3, 10), region(0.05, 3, 400), region(0.02, 4, 900)) })).toEqual({ row: 0.5, column: 0.5, source: 'region' });
    expect(regionSpacing({})).toBeNull();
  });
});

describe('volume', () => {
  const stack = (zs: number[], more: DataSet = {}) => buildFrames(zs.map((z, i) => slice(i + 1, z, more)), address);

  it('accepts an even stack and refuses the rest with a reason', () => {
    expect(whyNotVolume(stack([0, 2, 4, 6, 8, 10]))).toBeNull();
    expect(whyNotVolume(stack([0, 2]))).toBe('tooFew');
    expect(whyNotVolume(stack([0, 2, 4, 6, 12, 14]))).toBe('irregular');
    expect(whyNotVolume(stack([0, 2, 4, 6, 8], { '00280002': v(3) }))).toBe('colour');
    expect(whyNotVolume(stack([0, 2, 4, 6, 8], { '00200037': undefined }))).toBe('noGeometry');
    const mixed = [...stack([0, 2, 4, 6]), ...buildFrames([slice(5, 8, { '00280010': v(32) })], address)];
    expect(whyNotVolume(mixed)).toBe('mixed');
  });

  it('refuses a sheared stack (gantry tilt)', () => {
    const sets = [0, 2, 4, 6, 8].map((z, i) => slice(i + 1, z, { '00200032': v(-10, -10 + z * 0.3, z) }));
    expect(whyNotVolume(buildFrames(sets, address))).toBe('irregular');
  });
});

describe('series', () => {
  const found = (uid: string, modality: string, number: number, count: number): DataSet => ({
    '0020000E': v(uid), '00080060': v(modality), '00200011': v(number), '00201209': v(count),
  });

  it('lists pictures first, by number, and opens the first stack', () => {
    const series = buildSeries([found('d', 'SR', 1, 1), found('c', 'CT', 3, 200), found('a', 'CT', 1, 1), found('b', 'CT', 2, 40)]);
    expect(series.map((entry) => entry.uid)).toEqual(['a', 'b', 'c', 'd']);
    expect(series.at(-1)!.images).toBe(false);
    expect(firstToOpen(series)!.uid).toBe('b');
    expect(firstToOpen([])).toBeNull();
  });
});

describe('palettes', () => {
  it('reads eight and sixteen bit tables', () => {
    expect(tableEntries(Uint8Array.from([1, 0, 0, 2]), [2, 0, 16])).toEqual([1, 512]);
    expect(tableEntries(Uint8Array.from([1, 2, 3, 0]), [3, 0, 8])).toEqual([1, 2, 3]);
    expect(tableEntries(new Uint8Array(131072), [0, 0, 16])).toHaveLength(65536);
  });

  it('fetches what is not inline', async () => {
    const dataSet: DataSet = {
      '00281101': v(2, 0, 16), '00281102': v(2, 0, 16), '00281103': v(2, 0, 16),
      '00281201': { vr: 'OW', InlineBinary: btoa('\u0001\u0000\u0002\u0000') },
      '00281202': { vr: 'OW', BulkDataURI: '/bulk' },
      '00281203': v(7, 8),
    };
    await resolvePalette(dataSet, async (uri) => {
      expect(uri).toBe('/bulk');
      return Uint8Array.from([3, 0, 4, 0]).buffer;
    });
    expect([dataSet['00281201']!.Value, dataSet['00281202']!.Value, dataSet['00281203']!.Value]).toEqual([[1, 2], [3, 4], [7, 8]]);
  });

  it('expands a segmented table', () => {
    // Three points, a line of four to 40, then both again by reference.
    expect(expandSegments([0, 3, 0, 5, 20, 1, 4, 40, 2, 2, 0, 0])).toEqual([0, 5, 20, 25, 30, 35, 40, 0, 5, 20, 25, 30, 35, 40]);
    expect(expandSegments([9, 1, 1])).toEqual([]);
  });

  it('unpacks a multipart answer with one part', () => {
    const message = new TextEncoder().encode('--b\r\nContent-Type: application/octet-stream\r\n\r\nAB\r\n--b--\r\n');
    expect(new TextDecoder().decode(onlyPart(message))).toBe('AB');
  });
});

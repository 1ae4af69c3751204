/** The series of a study, as QIDO-RS tells them. */
import { number, string, type DataSet } from './json';

export interface Series {
  uid: string;
  modality: string;
  number: number | null;
  description: string;
  bodyPart: string;
  /** Number of instances. */
  count: number;
  /** False for reports, key objects, presentation states …: shown as a card. */
  images: boolean;
}

/** Modalities (PS3.3 C.7.3.1.1.1) whose objects are not pictures to scroll through. */
const NOT_IMAGES: ReadonlySet<string> = new Set([
  'SR', 'KO', 'PR', 'DOC', 'SEG', 'REG', 'FID', 'RTSTRUCT', 'RTPLAN', 'RTRECORD', 'RTDOSE', 'PLAN', 'AU', 'ECG', 'EPS', 'HD',
  'RESP', 'SMR', 'STAIN', 'RWV', 'M3D', 'IOL', 'LEN', 'KER', 'SRF', 'VA', 'ASMT', 'TEXTUREMAP',
]);

export function buildSeries(found: readonly DataSet[]): Series[] {
  return found
    .map((dataSet): Series => {
      const modality = string(dataSet, '00080060');
      return {
        uid: string(dataSet, '0020000E'),
        modality,
        number: number(dataSet, '00200011'),
        description: string(dataSet, '0008103E'),
        bodyPart: string(dataSet, '00180015'),
        count: number(dataSet, '00201209') ?? 0,
        images: !NOT_IMAGES.has(modality),
      };
    })
    .filter((series) => series.uid !== '')
    .sort(
      (a, b) =>
        Number(b.images) - Number(a.images) || (a.number ?? Infinity) - (b.number ?? Infinity) || a.uid.localeCompare(b.uid),
    );
}

/** Which series to open first: the one with the most to scroll through among the first few. */
export function firstToOpen(series: readonly Series[]): Series | null {
  const pictures = series.filter((entry) => entry.images);
  const cross = pictures.filter((entry) => ['CT', 'MR', 'PT', 'NM'].includes(entry.modality) && entry.count > 3);
  return cross[0] ?? pictures[0] ?? null;
}

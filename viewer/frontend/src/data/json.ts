/** Reading the DICOM JSON model (PS3.18 Annex F). */
export interface Element {
  vr?: string;
  Value?: unknown[];
  InlineBinary?: string;
  BulkDataURI?: string;
}
export type DataSet = Record<string, Element | undefined>;

export function strings(dataSet: DataSet | undefined, tag: string): string[] {
  const value = dataSet?.[tag]?.Value;
  if (!Array.isArray(value)) return [];
  return value.map((item) => {
    if (item === null || item === undefined) return '';
    if (typeof item === 'object') return String((item as { Alphabetic?: unknown }).Alphabetic ?? '');
    return String(item);
  });
}

export function string(dataSet: DataSet | undefined, tag: string): string {
  return strings(dataSet, tag)[0] ?? '';
}

/** The element's numbers, or null unless there are at least `count` finite ones. */
export function numbers(dataSet: DataSet | undefined, tag: string, count = 1): number[] | null {
  const values = strings(dataSet, tag).map((value) => (value.trim() === '' ? Number.NaN : Number(value)));
  return values.length >= count && values.slice(0, count).every(Number.isFinite) ? values : null;
}

export function number(dataSet: DataSet | undefined, tag: string): number | null {
  return numbers(dataSet, tag)?.[0] ?? null;
}

export function items(dataSet: DataSet | undefined, tag: string): DataSet[] {
  const value = dataSet?.[tag]?.Value;
  if (!Array.isArray(value)) return [];
  return value.filter((item): item is DataSet => typeof item === 'object' && item !== null);
}

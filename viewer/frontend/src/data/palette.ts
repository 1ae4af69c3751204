/**
 * Palette colour tables (PS3.3 C.7.9): in DICOM JSON they arrive as bytes (inline or by URI), the decoder wants numbers.
 */
import { numbers, type DataSet, type Element } from './json';

const TABLES = ['00281201', '00281202', '00281203'] as const;

export const hasPalette = (dataSet: DataSet): boolean => TABLES.some((tag) => dataSet[tag] !== undefined);

export function decodeBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/**
 * Entries of one table.
 *
 * @param bytes  the OW value, little endian
 * @param descriptor  number of entries (0 means 65536), first value mapped, bits per entry
 */
export function tableEntries(bytes: Uint8Array, descriptor: readonly number[]): number[] {
  const count = descriptor[0] === 0 ? 65536 : (descriptor[0] ?? 0);
  if (bytes.length >= count * 2) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Array.from({ length: count }, (_, i) => view.getUint16(i * 2, true));
  }
  return Array.from(bytes.subarray(0, count));
}

type Fetch = (uri: string) => Promise<ArrayBuffer>;

async function bytesOf(element: Element, fetchBytes: Fetch): Promise<Uint8Array | null> {
  if (element.InlineBinary !== undefined) return decodeBase64(element.InlineBinary);
  if (element.BulkDataURI !== undefined) return new Uint8Array(await fetchBytes(element.BulkDataURI));
  return null;
}

/** Replace each table of a data set by its numbers, in place. */
export async function resolvePalette(dataSet: DataSet, fetchBytes: Fetch): Promise<void> {
  await Promise.all(
    TABLES.map(async (tag, i) => {
      const element = dataSet[tag];
      if (!element || Array.isArray(element.Value)) return;
      const bytes = await bytesOf(element, fetchBytes);
      const descriptor = numbers(dataSet, `0028110${i + 1}`, 3);
      if (bytes && descriptor) dataSet[tag] = { vr: 'US', Value: tableEntries(bytes, descriptor) };
    }),
  );
}

/**
 * Palette colour tables (PS3.3 C.7.9): in DICOM JSON they arrive as bytes (inline or by URI), the decoder wants numbers.
 */
import { numbers, type DataSet, type Element } from './json';

const TABLES = ['00281201', '00281202', '00281203'] as const;
const SEGMENTED = ['00281221', '00281222', '00281223'] as const;

export const hasPalette = (dataSet: DataSet): boolean => [...TABLES, ...SEGMENTED].some((tag) => dataSet[tag] !== undefined);

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

/**
 * Expand a segmented table (PS3.3 C.7.9.2): runs given point by point, as straight lines, or by reference.
 *
 * @param words  the 16-bit words of the OW value
 */
export function expandSegments(words: readonly number[]): number[] {
  const entries: number[] = [];
  const run = (start: number, count: number, nested: boolean): number => {
    let at = start;
    for (let done = 0; done < count && at + 1 < words.length; done += 1) {
      const opcode = words[at]!;
      const length = words[at + 1]!;
      if (opcode === 0) {
        entries.push(...words.slice(at + 2, at + 2 + length));
        at += 2 + length;
      } else if (opcode === 1) {
        const from = entries.at(-1) ?? 0;
        const to = words[at + 2]!;
        for (let i = 1; i <= length; i += 1) entries.push(Math.round(from + ((to - from) * i) / length));
        at += 3;
      } else if (opcode === 2 && !nested) {
        const offset = words[at + 2]! + words[at + 3]! * 65536;
        run(offset / 2, length, true);
        at += 4;
      } else break;
    }
    return at;
  };
  run(0, Infinity, false);
  return entries;
}

const words16 = (bytes: Uint8Array): number[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / 2) }, (_, i) => view.getUint16(i * 2, true));
};

type Fetch = (uri: string) => Promise<ArrayBuffer>;

async function bytesOf(element: Element, fetchBytes: Fetch): Promise<Uint8Array | null> {
  if (element.InlineBinary !== undefined) return decodeBase64(element.InlineBinary);
  if (element.BulkDataURI !== undefined) return new Uint8Array(await fetchBytes(element.BulkDataURI));
  return null;
}

/** Replace each table of a data set by its numbers, in place; segmented ones become plain. */
export async function resolvePalette(dataSet: DataSet, fetchBytes: Fetch): Promise<void> {
  await Promise.all(
    TABLES.map(async (tag, i) => {
      const plain = dataSet[tag];
      const segmented = dataSet[SEGMENTED[i]!];
      const descriptor = numbers(dataSet, `0028110${i + 1}`, 3);
      if (Array.isArray(plain?.Value) || !descriptor) return;
      if (plain) {
        const bytes = await bytesOf(plain, fetchBytes);
        if (bytes) dataSet[tag] = { vr: 'US', Value: tableEntries(bytes, descriptor) };
      } else if (segmented) {
        const bytes = await bytesOf(segmented, fetchBytes);
        const words = bytes ? words16(bytes) : (numbers(dataSet, SEGMENTED[i]!) ?? []);
        if (words.length) dataSet[tag] = { vr: 'US', Value: expandSegments(words) };
      }
    }),
  );
}

import { describe, expect, it } from 'vitest';
import { parseContext } from '../src/context';
import { formatAge, formatDate, formatSpan, useLanguage } from '../src/i18n';
import { en } from '../src/i18n/en';
import { plural, ru } from '../src/i18n/ru';
import { prefetchOrder } from '../src/image/order';
import { firstPart, measuredRate } from '../src/image/rate';
import { meaning, SHORTCUTS } from '../src/ui/shortcuts';
import { presetsFor, rangeToWindow, windowToRange } from '../src/viewport/presets';

const press = (code: string, more: Partial<{ shiftKey: boolean; ctrlKey: boolean }> = {}) =>
  meaning({ code, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false, ...more });

describe('keyboard', () => {
  it('knows each key once', () => {
    const keys = SHORTCUTS.flatMap((entry) => entry.codes.map((code) => `${entry.shift ? 'Shift ' : ''}${code}`));
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('works by place on the keyboard, so in any layout', () => {
    expect(press('KeyW')).toBe('window');
    expect(press('PageDown')).toBe('jumpForward');
    expect(press('Digit2')).toBe(2);
    expect(press('Digit2', { shiftKey: true })).toBe('layoutTwo');
    expect(press('KeyT', { shiftKey: true })).toBe('flipHorizontal');
    expect(press('Slash', { shiftKey: true })).toBe('help');
    expect(press('KeyR', { ctrlKey: true })).toBeNull();
    expect(press('KeyQ')).toBeNull();
  });
});

describe('presets', () => {
  it('keeps width and level through a range', () => {
    expect(rangeToWindow(windowToRange(1500, -600))).toEqual({ width: 1500, level: -600 });
    expect(windowToRange(400, 40)).toEqual({ lower: -160, upper: 239 });
  });

  it('has at most nine', () => {
    for (const modality of ['CT', 'MR', 'US', '']) expect(presetsFor(modality).length).toBeLessThanOrEqual(9);
  });
});

describe('prefetch', () => {
  it('runs ahead of the movement, three for one', () => {
    expect(prefetchOrder(10, 1, 40).slice(0, 8)).toEqual([11, 12, 13, 9, 14, 15, 16, 8]);
    expect(prefetchOrder(10, -1, 40).slice(0, 4)).toEqual([9, 8, 7, 11]);
  });

  it('reaches every other slice once', () => {
    for (const [current, direction, count] of [[0, 1, 30], [29, 1, 30], [7, -1, 30], [0, -1, 1]] as const) {
      const order = prefetchOrder(current, direction, count);
      expect(new Set(order).size).toBe(count - 1);
      expect(order).not.toContain(current);
    }
  });
});

describe('progressive loading', () => {
  it('asks for a first part in proportion to the image', () => {
    expect(firstPart(64, 64)).toBeNull();
    expect(firstPart(512, 512)).toEqual({ bytes: 52429, decodeLevel: 1 });
    expect(firstPart(2048, 2048)?.decodeLevel).toBe(2);
  });

  it('judges the line by what came over it', () => {
    expect(measuredRate([])).toBeNull();
    const entry = (transferSize: number, duration: number) => ({ transferSize, duration });
    expect(measuredRate([entry(100_000, 1000), entry(100_000, 500), entry(100_000, 2000), entry(300, 1)])).toBe(100_000);
  });
});

describe('languages', () => {
  it('fills the same keys, none of them empty by accident', () => {
    const keys = (value: object, path = ''): string[] =>
      Object.entries(value).flatMap(([key, entry]) => (typeof entry === 'object' ? keys(entry as object, `${path}${key}.`) : [`${path}${key}`]));
    expect(keys(ru).sort()).toEqual(keys(en).sort());
  });

  it('counts in Russian', () => {
    expect([1, 2, 5, 11, 21, 104, 112].map((n) => plural(n, 'снимок', 'снимка', 'снимков'))).toEqual(['снимок', 'снимка', 'снимков', 'снимков', 'снимок', 'снимка', 'снимков']);
  });

  it('writes dates, ages and spans', () => {
    useLanguage('en');
    expect(formatDate('20260312')).toBe('12\u00a0Mar\u00a02026');
    expect(formatDate('unknown')).toBe('unknown');
    expect(formatAge('057Y')).toBe('57 y');
    expect(formatSpan(19 * 3_600_000 + 40 * 60_000)).toBe('19 h 40 min');
    expect(formatSpan(2 * 86_400_000 + 3_600_000)).toBe('2 d 1 h');
    expect(formatSpan(0)).toBe('0 min');
    useLanguage('ru');
    expect(formatAge('003M')).toBe('3 мес');
    useLanguage('en');
  });
});

describe('context', () => {
  it('reads what the page says and survives what it leaves out', () => {
    const context = parseContext(JSON.stringify({ studyUid: '1.2', language: 'ru', canSign: true, patient: { name: 'P-1' }, study: { modalities: 'CT\\MR' } }));
    expect(context).toMatchObject({ studyUid: '1.2', language: 'ru', canSign: true, canAnnotate: false, consultationId: null, question: null });
    expect(context.study.modalities).toEqual(['CT', 'MR']);
    expect(() => parseContext('{}')).toThrow();
  });
});

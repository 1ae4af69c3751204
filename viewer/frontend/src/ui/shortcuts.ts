/** The one table of commands: key, icon, group. Toolbar, tooltips, help and the keyboard all read it. */
import type { Messages } from '../i18n/en';

export type Command = keyof Messages['command'];
export type Group = 'tools' | 'measure' | 'view' | 'navigate' | 'panels';

export interface Shortcut {
  command: Command;
  group: Group;
  /** Physical keys (KeyboardEvent.code), so that they work on a Russian layout too. */
  codes: readonly string[];
  /** What is printed on the key. */
  label: string;
  shift?: boolean;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { command: 'window', group: 'tools', codes: ['KeyW'], label: 'W' },
  { command: 'scroll', group: 'tools', codes: ['KeyS'], label: 'S' },
  { command: 'zoom', group: 'tools', codes: ['KeyZ'], label: 'Z' },
  { command: 'pan', group: 'tools', codes: ['KeyP'], label: 'P' },
  { command: 'crosshairs', group: 'tools', codes: ['KeyX'], label: 'X' },
  { command: 'length', group: 'measure', codes: ['KeyL'], label: 'L' },
  { command: 'ellipse', group: 'measure', codes: ['KeyE'], label: 'E' },
  { command: 'rectangle', group: 'measure', codes: ['KeyB'], label: 'B' },
  { command: 'angle', group: 'measure', codes: ['KeyG'], label: 'G' },
  { command: 'arrow', group: 'measure', codes: ['KeyA'], label: 'A' },
  { command: 'remove', group: 'measure', codes: ['Delete', 'Backspace'], label: 'Del' },
  { command: 'hideMarks', group: 'measure', codes: ['KeyH'], label: 'H' },
  { command: 'reset', group: 'view', codes: ['KeyR'], label: 'R' },
  { command: 'invert', group: 'view', codes: ['KeyI'], label: 'I' },
  { command: 'rotate', group: 'view', codes: ['KeyT'], label: 'T' },
  { command: 'flipHorizontal', group: 'view', codes: ['KeyT'], label: 'Shift T', shift: true },
  { command: 'layoutOne', group: 'view', codes: ['Digit1'], label: 'Shift 1', shift: true },
  { command: 'layoutTwo', group: 'view', codes: ['Digit2'], label: 'Shift 2', shift: true },
  { command: 'layoutFour', group: 'view', codes: ['Digit4'], label: 'Shift 4', shift: true },
  { command: 'mpr', group: 'view', codes: ['KeyM'], label: 'M' },
  { command: 'cine', group: 'view', codes: ['Space'], label: 'Space' },
  { command: 'fullScreen', group: 'view', codes: ['KeyF'], label: 'F' },
  { command: 'next', group: 'navigate', codes: ['ArrowDown', 'ArrowRight'], label: '↓ →' },
  { command: 'previous', group: 'navigate', codes: ['ArrowUp', 'ArrowLeft'], label: '↑ ←' },
  { command: 'jumpForward', group: 'navigate', codes: ['PageDown'], label: 'PgDn' },
  { command: 'jumpBack', group: 'navigate', codes: ['PageUp'], label: 'PgUp' },
  { command: 'first', group: 'navigate', codes: ['Home'], label: 'Home' },
  { command: 'last', group: 'navigate', codes: ['End'], label: 'End' },
  { command: 'nextSeries', group: 'navigate', codes: ['BracketRight', 'Period'], label: ']' },
  { command: 'previousSeries', group: 'navigate', codes: ['BracketLeft', 'Comma'], label: '[' },
  { command: 'panel', group: 'panels', codes: ['KeyO'], label: 'O' },
  { command: 'rail', group: 'panels', codes: ['KeyN'], label: 'N' },
  { command: 'help', group: 'panels', codes: ['Slash', 'F1'], label: '?' },
  { command: 'escape', group: 'panels', codes: ['Escape'], label: 'Esc' },
];

export const labelOf = (command: Command): string => SHORTCUTS.find((entry) => entry.command === command)?.label ?? '';

export interface KeyPress {
  code: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
}

/** The command a key press means, or the number 1–9 of a window preset. */
export function meaning(press: KeyPress): Command | number | null {
  if (press.ctrlKey || press.metaKey || press.altKey) return null;
  const exact = SHORTCUTS.find((entry) => entry.codes.includes(press.code) && Boolean(entry.shift) === press.shiftKey);
  if (exact) return exact.command;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(press.code);
  if (digit && !press.shiftKey) return Number(digit[1]);
  // "?" is Shift + Slash on most layouts.
  return press.code === 'Slash' ? 'help' : null;
}

/** Keys belong to the field being written in. */
export function writing(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

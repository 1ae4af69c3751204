/** The help overlay: every key and button, from the same table the keyboard uses. */
import { t } from '../i18n';
import { presetsFor } from '../viewport/presets';
import { openDialog } from './dialog';
import { h } from './dom';
import { SHORTCUTS, type Group } from './shortcuts';

const row = (keys: string, text: string) =>
  h('div', { class: 'key-row' }, h('span', { class: 'keys' }, ...keys.split(' ').map((key) => h('kbd', { text: key }))), h('span', { text }));

function group(name: Group): HTMLElement {
  const entries = SHORTCUTS.filter((entry) => entry.group === name);
  return h('section', {}, h('h3', { text: t().toolGroup[name] }), ...entries.map((entry) => row(entry.label, t().command[entry.command])));
}

function mouse(): HTMLElement {
  const m = t().mouse;
  const pairs: [string, string][] = [
    [m.left, m.leftDoes],
    [m.middle, m.middleDoes],
    [m.right, m.rightDoes],
    [m.wheel, m.wheelDoes],
    [m.ctrlWheel, m.ctrlWheelDoes],
    [m.double, m.doubleDoes],
    [m.pinch, m.pinchDoes],
    [m.threeFingers, m.threeFingersDoes],
  ];
  return h('section', {}, h('h3', { text: m.title }), ...pairs.map(([what, does]) => h('div', { class: 'key-row' }, h('span', { class: 'keys', text: what }), h('span', { text: does }))));
}

export function openHelp(modality: string): void {
  const presets = presetsFor(modality).map((preset, i) => row(String(i + 1), t().preset[preset.name]));
  openDialog(
    t().command.help,
    'help',
    h(
      'div',
      { class: 'help-columns' },
      h('div', {}, group('tools'), group('measure')),
      h('div', {}, group('view'), group('panels')),
      h('div', {}, group('navigate'), h('section', {}, h('h3', { text: t().toolGroup.windows }), ...presets)),
      h('div', {}, mouse()),
    ),
    true,
  );
}

/** The bar at the top: every common action one click, its key in the tooltip. */
import type { Context } from '../context';
import { formatNumber, t } from '../i18n';
import type { Preset } from '../viewport/presets';
import { h, show } from './dom';
import { icon, type IconName } from './icons';
import { labelOf, type Command } from './shortcuts';

const TOOLS: readonly Command[] = ['window', 'scroll', 'zoom', 'pan'];
const MARKS: readonly Command[] = ['length', 'ellipse', 'rectangle', 'angle', 'arrow', 'hideMarks'];
const VIEW: readonly Command[] = ['invert', 'rotate', 'flipHorizontal', 'flipVertical', 'reset'];
const LAYOUT: readonly Command[] = ['layoutOne', 'layoutTwo', 'layoutFour', 'mpr'];
const END: readonly Command[] = ['help', 'fullScreen', 'panel'];

export interface ToolbarState {
  tool: Command;
  layout: Command;
  mpr: boolean;
  /** Why MPR cannot be used on the active series, null if it can. */
  mprWhy: string | null;
  cine: { possible: boolean; playing: boolean; fps: number };
  /** The user may draw marks. */
  marking: boolean;
  /** There are marks to hide. */
  anyMarks: boolean;
  marksVisible: boolean;
  panelOpen: boolean;
  presets: readonly Preset[];
}

export class Toolbar {
  readonly root = h('header', { class: 'toolbar', role: 'toolbar' });
  private readonly buttons = new Map<Command, HTMLButtonElement>();
  private readonly menu = h('div', { class: 'menu', role: 'menu', testid: 'presets-menu', hidden: true });
  private readonly presetButton: HTMLButtonElement;
  private readonly fps = h('output', { class: 'fps', testid: 'cine-fps' });
  private readonly speed = h('input', { type: 'range', min: 1, max: 60, step: 1, class: 'fps-range', testid: 'cine-speed' });
  private readonly cine = h('div', { class: 'group cine', hidden: true });
  private readonly marks = h('div', { class: 'group' });

  constructor(
    context: Context,
    private readonly run: (command: Command) => void,
    private readonly preset: (index: number) => void,
    cineSpeed: (fps: number) => void,
  ) {
    const back = h('a', { class: 'tool back', href: context.backUrl, 'aria-label': t().back, testid: 'back' }, icon('back'), this.tip(t().back, ''));
    this.presetButton = h('button', { class: 'tool with-arrow', type: 'button', testid: 'tool-presets', 'aria-haspopup': 'menu', 'aria-label': t().command.presets }, icon('presets'), icon('chevron'), this.tip(t().command.presets, '1 – 9'));
    this.presetButton.addEventListener('click', () => this.toggleMenu());
    document.addEventListener('pointerdown', (event) => {
      if (!this.menu.contains(event.target as Node) && !this.presetButton.contains(event.target as Node)) show(this.menu, false);
    });
    this.speed.addEventListener('input', () => cineSpeed(Number(this.speed.value)));
    this.marks.append(...MARKS.map((command) => this.button(command)));
    this.cine.append(this.button('cine'), this.speed, this.fps);
    this.root.append(
      back,
      h('div', { class: 'group' }, ...TOOLS.map((command) => this.button(command)), this.button('crosshairs')),
      h('div', { class: 'group menu-host' }, this.presetButton, this.menu),
      this.marks,
      h('div', { class: 'group' }, ...VIEW.map((command) => this.button(command))),
      h('div', { class: 'group' }, ...LAYOUT.map((command) => this.button(command))),
      this.cine,
      h('div', { class: 'spacer' }),
      h('div', { class: 'group' }, ...END.map((command) => this.button(command))),
    );
  }

  update(state: ToolbarState): void {
    for (const [command, button] of this.buttons) {
      const pressed =
        command === state.tool ||
        (command === state.layout && !state.mpr) ||
        (command === 'mpr' && state.mpr) ||
        (command === 'panel' && state.panelOpen) ||
        (command === 'hideMarks' && !state.marksVisible);
      button.classList.toggle('on', pressed);
      button.setAttribute('aria-pressed', String(pressed));
    }
    show(this.marks, state.marking || state.anyMarks);
    for (const command of MARKS) show(this.buttons.get(command)!, state.marking || command === 'hideMarks');
    show(this.cine, state.cine.possible);
    show(this.buttons.get('crosshairs')!, state.mpr);
    for (const command of MARKS) this.buttons.get(command)!.disabled = state.mpr;
    const mpr = this.buttons.get('mpr')!;
    mpr.classList.toggle('off', state.mprWhy !== null);
    mpr.setAttribute('aria-disabled', String(state.mprWhy !== null));
    this.retip(mpr, state.mprWhy ?? t().command.mpr, state.mprWhy ? '' : labelOf('mpr'));
    const cine = this.buttons.get('cine')!;
    cine.firstElementChild!.replaceWith(icon(state.cine.playing ? 'pause' : 'cine'));
    this.speed.value = String(Math.round(state.cine.fps));
    this.fps.textContent = `${formatNumber(state.cine.fps, 0)} ${t().fps}`;
    this.fillMenu(state.presets);
  }

  closeMenu(): boolean {
    const open = !this.menu.hidden;
    show(this.menu, false);
    return open;
  }

  private button(command: Command): HTMLButtonElement {
    const label = t().command[command];
    const key = labelOf(command);
    const element = h('button', { class: 'tool', type: 'button', testid: `tool-${command}`, 'aria-label': label }, icon(command as IconName), this.tip(label, key));
    element.addEventListener('click', () => {
      this.run(command);
      element.blur();
    });
    this.buttons.set(command, element);
    return element;
  }

  private tip(text: string, key: string): HTMLElement {
    return h('span', { class: 'tip', role: 'tooltip' }, text, key ? h('kbd', { text: key }) : null);
  }

  private retip(button: HTMLElement, text: string, key: string): void {
    button.querySelector('.tip')?.replaceWith(this.tip(text, key));
  }

  private toggleMenu(): void {
    show(this.menu, this.menu.hidden === true);
  }

  private fillMenu(presets: readonly Preset[]): void {
    const names = presets.map((preset) => preset.name).join();
    if (this.menu.dataset['presets'] === names) return;
    this.menu.dataset['presets'] = names;
    this.menu.replaceChildren(
      ...presets.map((preset, i) => {
        const item = h(
          'button',
          { class: 'menu-item', type: 'button', role: 'menuitem', testid: `preset-${preset.name}` },
          h('kbd', { text: String(i + 1) }),
          h('span', { text: t().preset[preset.name] }),
          h('small', { text: preset.window ? `${preset.window.width} / ${preset.window.level}` : '' }),
        );
        item.addEventListener('click', () => {
          show(this.menu, false);
          this.preset(i + 1);
        });
        return item;
      }),
    );
  }
}

/** What each command does; the table of keys is in ui/shortcuts.ts. */
import type { Marking } from './marking';
import type { Stage } from './stage';
import { MARKING, type LeftTool, type Toolset } from './tools/toolset';
import { t } from './i18n';
import { toast } from './ui/dialog';
import { openHelp } from './ui/help';
import type { Command } from './ui/shortcuts';

export interface CommandHooks {
  closeMenu: () => boolean;
  fullScreen: () => void;
  togglePanel: () => void;
  toggleRail: () => void;
}

export function commandTable(stage: Stage, tools: Toolset, marking: Marking, hooks: CommandHooks): Record<Command, () => void> {
  const choose = (tool: LeftTool) => () => {
    if (stage.mpr.open && MARKING.includes(tool)) toast(t().mprMarks);
    else tools.choose(tool);
  };
  const step = (delta: number) => () => void stage.pane?.step(delta);
  return {
    window: choose('window'),
    scroll: choose('scroll'),
    pan: choose('pan'),
    zoom: choose('zoom'),
    crosshairs: choose('crosshairs'),
    length: choose('length'),
    ellipse: choose('ellipse'),
    rectangle: choose('rectangle'),
    angle: choose('angle'),
    arrow: choose('arrow'),
    remove: () => marking.removeSelected(),
    hideMarks: () => marking.toggleVisible(),
    presets: () => undefined,
    invert: () => stage.pane?.invert(),
    rotate: () => stage.pane?.rotate(),
    flipHorizontal: () => stage.pane?.flip(true),
    flipVertical: () => stage.pane?.flip(false),
    reset: () => stage.reset(),
    layoutOne: () => stage.setLayout(1),
    layoutTwo: () => stage.setLayout(2),
    layoutFour: () => stage.setLayout(4),
    mpr: () => void stage.toggleMpr(),
    cine: () => stage.cine.toggle(stage.pane),
    next: step(1),
    previous: step(-1),
    jumpForward: step(10),
    jumpBack: step(-10),
    first: () => void stage.pane?.goTo(0),
    last: () => void stage.pane?.goTo(stage.pane.frames.length - 1),
    nextSeries: () => stage.neighbour(1),
    previousSeries: () => stage.neighbour(-1),
    help: () => openHelp(stage.modality),
    fullScreen: hooks.fullScreen,
    panel: hooks.togglePanel,
    rail: hooks.toggleRail,
    escape: () => {
      if (hooks.closeMenu()) return;
      if (!tools.cancel()) tools.choose(stage.mpr.open ? 'crosshairs' : 'window');
      stage.cine.stop();
    },
  };
}

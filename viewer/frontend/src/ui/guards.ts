/** The page around the viewer: keys, going offline and back, leaving with something unsaved. */
import { meaning, writing, type Command } from './shortcuts';

export interface GuardHooks {
  run: (command: Command) => void;
  preset: (n: number) => void;
  online: () => void;
  /** How much the server has not confirmed. */
  unsaved: () => number;
  /** Send what can still be sent. */
  lastChance: () => void;
}

export function guardPage(hooks: GuardHooks): void {
  window.addEventListener('keydown', (event) => {
    if (writing(event.target) || document.querySelector('dialog[open]')) return;
    const meant = meaning(event);
    if (meant === null) return;
    event.preventDefault();
    if (typeof meant === 'number') hooks.preset(meant);
    else hooks.run(meant);
  });
  window.addEventListener('online', () => hooks.online());
  window.addEventListener('beforeunload', (event) => {
    if (!hooks.unsaved()) return;
    hooks.lastChance();
    event.preventDefault();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') hooks.lastChance();
  });
}

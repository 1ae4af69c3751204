/** Playing a series as a film, at its own speed. Waits for a frame that has not arrived rather than skipping it. */
import type { Frame } from '../data/frames';
import type { Pane } from './pane';

const DEFAULT_FPS = 10;

/** Frames per second the series was recorded at. */
export function recordedRate(frames: readonly Frame[]): number {
  const time = frames[0]?.frameTime;
  return time ? Math.max(1, Math.min(60, 1000 / time)) : DEFAULT_FPS;
}

export class Cine {
  private run = 0;
  fps = DEFAULT_FPS;
  playing = false;

  constructor(private readonly changed: () => void) {}

  suits(pane: Pane | null): boolean {
    return (pane?.frames.length ?? 0) > 1;
  }

  toggle(pane: Pane | null): void {
    if (this.playing) this.stop();
    else if (pane && this.suits(pane)) void this.play(pane);
  }

  stop(): void {
    this.run += 1;
    if (!this.playing) return;
    this.playing = false;
    this.changed();
  }

  private async play(pane: Pane): Promise<void> {
    const run = ++this.run;
    const series = pane.loaded;
    this.playing = true;
    this.changed();
    let due = performance.now();
    while (run === this.run && pane.loaded === series) {
      due = Math.max(due + 1000 / this.fps, performance.now());
      await pane.goTo((pane.index + 1) % pane.frames.length);
      await new Promise((resolve) => window.setTimeout(resolve, Math.max(0, due - performance.now())));
    }
    if (run === this.run) this.stop();
  }
}

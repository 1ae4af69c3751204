/** Marks in the viewer: going to one, deleting with a way back, telling where it lies. */
import type { Layer, Mark } from './annotations/layer';
import { MarkList, type MarkPlace } from './annotations/list';
import type { Context } from './context';
import type { Library } from './data/library';
import type { Series } from './data/series';
import { t } from './i18n';
import { toast } from './ui/dialog';

export interface MarkingHooks {
  /** Bring an image on screen. */
  show: (series: Series, index: number) => Promise<void>;
  insert: ((text: string) => void) | null;
}

export class Marking {
  readonly list: MarkList;
  visible = true;

  constructor(
    private readonly context: Context,
    private readonly layer: Layer,
    private readonly library: Library,
    private readonly hooks: MarkingHooks,
  ) {
    this.list = new MarkList({
      place: (mark) => this.place(mark),
      go: (mark) => void this.go(mark),
      remove: (mark) => this.remove(mark),
      insert: hooks.insert,
    });
  }

  refresh(): void {
    this.list.show(this.layer.all, this.layer.selected, this.context.canAnnotate);
  }

  toggleVisible(): void {
    this.visible = this.layer.toggleVisible();
  }

  removeSelected(): void {
    const selected = this.layer.selected;
    const mark = this.layer.all.find((entry) => entry.uid === selected && entry.mine);
    if (mark && this.context.canAnnotate) this.remove(mark);
  }

  private remove(mark: Mark): void {
    this.layer.remove(mark.uid);
    toast(t().markRemoved, { label: t().undo, run: () => this.layer.putBack(mark) });
  }

  private async go(mark: Mark): Promise<void> {
    const series = this.library.find(mark.series_instance_uid);
    if (!series) return;
    await this.library.load(series);
    const index = this.library.indexOf(series.uid, mark.sop_instance_uid, mark.frame);
    if (index === null) return;
    await this.hooks.show(series, index);
    this.layer.select(mark.uid);
    this.refresh();
  }

  private place(mark: Mark): MarkPlace {
    const series = this.library.find(mark.series_instance_uid);
    const at = this.library.indexOf(mark.series_instance_uid, mark.sop_instance_uid, mark.frame);
    const frame = at === null ? null : this.library.frame(mark.series_instance_uid, at);
    return {
      series: String(series?.number ?? series?.modality ?? '–'),
      slice: at === null ? null : at + 1,
      detector: frame?.spacing?.source === 'detector',
    };
  }
}

/** The series of the study as thumbnails; a click shows one, a drag puts it on a chosen pane. */
import type { Series } from '../data/series';
import type { Messages } from '../i18n/en';
import { t } from '../i18n';
import { h } from './dom';
import { icon } from './icons';

export const DRAG_TYPE = 'application/x-consilium-series';

const CARDS: Readonly<Record<string, keyof Messages['card']>> = {
  SR: 'report', DOC: 'document', KO: 'keyImages', PR: 'presentation', SEG: 'segmentation',
  RTSTRUCT: 'radiotherapy', RTPLAN: 'radiotherapy', RTDOSE: 'radiotherapy', RTRECORD: 'radiotherapy',
};

export class Rail {
  readonly root = h('nav', { class: 'rail', testid: 'rail', 'aria-label': t().series });
  private readonly items = new Map<string, HTMLButtonElement>();

  constructor(
    private readonly thumbnailUrl: (series: Series) => string,
    private readonly open: (series: Series) => void,
  ) {}

  show(series: readonly Series[]): void {
    this.items.clear();
    this.root.replaceChildren(...series.map((entry) => (entry.images ? this.thumbnail(entry) : this.card(entry))));
  }

  /** Which series are on screen, and which of them is the active one. */
  mark(shown: ReadonlySet<string>, active: string | null): void {
    for (const [uid, item] of this.items) {
      item.classList.toggle('shown', shown.has(uid));
      item.classList.toggle('active', uid === active);
      item.setAttribute('aria-current', String(uid === active));
    }
    if (active) this.items.get(active)?.scrollIntoView({ block: 'nearest' });
  }

  /** A series turned out to hold nothing to look at. */
  notImages(series: Series): void {
    const item = this.items.get(series.uid);
    if (!item) return;
    item.replaceWith(this.card(series));
    this.items.delete(series.uid);
  }

  /** Now that the metadata is here: frames rather than instances. */
  frames(series: Series, frames: number): void {
    const count = this.items.get(series.uid)?.querySelector('.thumb-count');
    if (count) {
      count.textContent = String(frames);
      (count as HTMLElement).title = t().frames(frames);
    }
  }

  private caption(series: Series): HTMLElement {
    return h(
      'span',
      { class: 'thumb-caption' },
      h('span', { class: 'thumb-description', text: series.description || series.bodyPart || series.modality }),
    );
  }

  private thumbnail(series: Series): HTMLElement {
    const image = h('img', { alt: '', loading: 'lazy', draggable: 'false', src: this.thumbnailUrl(series) });
    const frame = h('span', { class: 'thumb-image' }, image);
    image.addEventListener('error', () => {
      image.remove();
      frame.classList.add('thumb-none');
      frame.append(series.modality);
    });
    frame.append(
      h('span', { class: 'thumb-modality', text: series.modality }),
      h('span', { class: 'thumb-number', text: series.number === null ? '' : String(series.number) }),
      h('span', { class: 'thumb-count', text: series.count ? String(series.count) : '', title: series.count ? t().images(series.count) : '' }),
    );
    const item = h(
      'button',
      { class: 'thumb', type: 'button', draggable: 'true', testid: 'series', 'data-series': series.uid, title: series.description },
      frame,
      this.caption(series),
    );
    item.addEventListener('click', () => this.open(series));
    item.addEventListener('dragstart', (event) => event.dataTransfer?.setData(DRAG_TYPE, series.uid));
    this.items.set(series.uid, item);
    return item;
  }

  private card(series: Series): HTMLElement {
    return h(
      'div',
      { class: 'thumb thumb-card', testid: 'series-card', title: t().notAnImage },
      icon('document'),
      h('span', { class: 'card-text' }, h('b', { text: t().card[CARDS[series.modality] ?? 'other'] }), h('small', { text: series.description || series.modality })),
    );
  }
}

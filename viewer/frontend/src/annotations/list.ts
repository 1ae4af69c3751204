/** The marks as a list: what, how much, where; a click goes there. */
import { t } from '../i18n';
import { h } from '../ui/dom';
import { icon } from '../ui/icons';
import { words, type Mark } from './layer';
import { measurementLines } from './measurements';

export interface MarkPlace {
  /** Series number as people know it. */
  series: string;
  /** Position in the series, counted from 1; null while its series is not loaded. */
  slice: number | null;
  detector: boolean;
}

export interface ListHooks {
  place: (mark: Mark) => MarkPlace;
  go: (mark: Mark) => void;
  remove: (mark: Mark) => void;
  /** Null when there is nothing to write into. */
  insert: ((text: string) => void) | null;
}

function placeText(place: MarkPlace): string {
  return t().slicePlace(place.series, place.slice === null ? '–' : String(place.slice));
}

/** One sentence about a mark, for the findings. */
export function sentence(mark: Mark, place: MarkPlace): string {
  const lines = measurementLines(mark.measurements, place.detector, words());
  const [first, second] = lines;
  const numbers = [first, second && second.charAt(0).toLowerCase() + second.slice(1)].filter(Boolean).join(', ');
  const what = mark.tool === 'arrow' ? mark.label : [t().tool[mark.tool], numbers].filter(Boolean).join(' ');
  return `${what} (${placeText(place)}).`;
}

export class MarkList {
  readonly root = h('section', { class: 'marks', testid: 'marks' });
  private readonly count = h('span', { class: 'count' });
  private readonly status = h('span', { class: 'save-status', role: 'status', testid: 'marks-status' });
  private readonly body = h('ul', { class: 'mark-list', testid: 'mark-list' });

  constructor(private readonly hooks: ListHooks) {
    this.root.append(h('header', { class: 'section-head' }, h('h2', { text: t().marks }), this.count, this.status), this.body);
  }

  show(marks: readonly Mark[], selected: string | null, editable: boolean): void {
    this.count.textContent = marks.length ? String(marks.length) : '';
    const troubled = marks.filter((mark) => mark.save === 'failing' || mark.save === 'refused').length;
    this.status.dataset['state'] = troubled ? 'offline' : 'saved';
    this.status.textContent = troubled ? t().notSaved(troubled) : '';
    this.body.replaceChildren(
      ...(marks.length ? marks.map((mark) => this.row(mark, mark.uid === selected, editable)) : [h('li', { class: 'empty', text: t().noMarks })]),
    );
  }

  private row(mark: Mark, selected: boolean, editable: boolean): HTMLElement {
    const place = this.hooks.place(mark);
    const lines = measurementLines(mark.measurements, place.detector, words());
    const title = mark.tool === 'arrow' ? mark.label : (lines[0] ?? t().tool[mark.tool]);
    const detail = [mark.tool === 'arrow' ? '' : lines.slice(1, 2).join(''), placeText(place), mark.mine ? '' : mark.author].filter(Boolean).join(' · ');
    const row = h(
      'li',
      { class: `mark ${mark.mine ? 'mine' : 'others'}${selected ? ' selected' : ''}`, testid: 'mark', 'data-uid': mark.uid, 'data-save': mark.save, tabindex: 0, role: 'button' },
      icon(mark.tool === 'probe' ? 'crosshairs' : mark.tool),
      h('span', { class: 'mark-text' }, h('b', { text: title, title }), h('small', { text: detail })),
    );
    row.addEventListener('click', () => this.hooks.go(mark));
    row.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.hooks.go(mark);
    });
    if (mark.save === 'failing' || mark.save === 'refused') {
      const text = mark.save === 'refused' ? t().markRefused : t().notSaved(1);
      row.append(h('span', { class: 'mark-trouble', title: text, testid: 'mark-not-saved' }, icon('warning')));
    }
    const button = (name: 'insert' | 'remove', label: string, run: () => void) => {
      const element = h('button', { class: 'ghost', type: 'button', title: label, 'aria-label': label, testid: `mark-${name}` }, icon(name));
      element.addEventListener('click', (event) => {
        event.stopPropagation();
        run();
      });
      row.append(element);
    };
    const insert = this.hooks.insert;
    if (editable && insert) button('insert', t().insert, () => insert(sentence(mark, place)));
    if (editable && mark.mine) button('remove', t().removeMark, () => this.hooks.remove(mark));
    return row;
  }
}

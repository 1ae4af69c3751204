/** Marks on the images: drawn ones become stored ones, stored ones are drawn, other people's are locked. */
import { eventTarget } from '@cornerstonejs/core';
import { annotation, Enums, utilities, type Types } from '@cornerstonejs/tools';
import type { Context } from '../context';
import type { LoadedSeries } from '../data/dicomweb';
import type { Requests } from '../data/http';
import { normal } from '../geometry/plane';
import { formatNumber, t } from '../i18n';
import { findImageId, frameOf, seriesUidOf } from '../image/provider';
import type { Backend } from '../image/setup';
import { planeOf } from '../viewport/placing';
import { fromStored, markTool, toStored, type DrawnMark } from './convert';
import { measurementLines, measurementsOf, type Words } from './measurements';
import { SaveQueue, type SaveState } from './queue';
import type { ListedMark, StoredMark } from './types';

export interface Mark extends StoredMark {
  mine: boolean;
  author: string;
  save: SaveState;
}

const MINE = 'rgb(255, 214, 92)';
const OTHERS = 'rgb(186, 156, 255)';

function styles(colour: string): Record<string, string> {
  return {
    color: colour,
    colorHighlighted: 'rgb(255, 236, 170)',
    colorSelected: 'rgb(255, 236, 170)',
    colorLocked: colour,
    textBoxColor: colour,
    textBoxColorHighlighted: 'rgb(255, 236, 170)',
    textBoxColorSelected: 'rgb(255, 236, 170)',
    textBoxColorLocked: colour,
  };
}

/** `author` may come as a name or as a person. */
function authorName(author: unknown): string {
  if (typeof author === 'object' && author !== null) {
    const person = author as { name?: unknown; login?: unknown };
    return String(person.name || person.login || '');
  }
  return String(author ?? '');
}

export class Layer {
  readonly queue: SaveQueue;
  private readonly marks = new Map<string, Mark>();
  /** Listed marks whose series has not been loaded yet. */
  private readonly waiting = new Map<string, ListedMark[]>();
  private quiet = 0;
  private hidden = false;

  constructor(
    private readonly context: Context,
    private readonly requests: Requests,
    private readonly backend: Backend,
    private readonly changed: () => void,
  ) {
    const path = `/consultations/${context.consultationId}/annotations`;
    this.queue = new SaveQueue(
      {
        put: async (uid, mark) => (await requests.send('PUT', `${path}/${uid}`, mark)) as { revision: number },
        remove: async (uid) => void (await requests.send('DELETE', `${path}/${uid}`)),
        revision: async (uid) => (await this.list()).find((mark) => mark.uid === uid)?.revision ?? null,
      },
      () => this.saveStates(),
    );
    annotation.config.style.setDefaultToolStyles({
      ...annotation.config.style.getDefaultToolStyles(),
      global: { ...(annotation.config.style.getDefaultToolStyles()['global'] ?? {}), ...styles(MINE), lineWidth: '1.5', textBoxFontSize: '13px', textBoxBackground: 'rgba(0, 0, 0, 0.55)' },
    } as never);
    if (!context.consultationId) return;
    const on = (type: string, handler: (mark: DrawnMark) => void) =>
      eventTarget.addEventListener(type, (event: Event) => {
        const mark = (event as CustomEvent<{ annotation?: DrawnMark }>).detail.annotation;
        if (mark && this.quiet === 0) handler(mark);
      });
    on(Enums.Events.ANNOTATION_COMPLETED, (mark) => this.completed(mark));
    on(Enums.Events.ANNOTATION_MODIFIED, (mark) => this.touched(mark));
    on(Enums.Events.ANNOTATION_REMOVED, (mark) => this.removed(mark));
  }

  /** All marks, in the order of series, slice and drawing. */
  get all(): Mark[] {
    return [...this.marks.values()].map((mark) => ({ ...mark, save: this.queue.state(mark.uid) }));
  }

  async load(): Promise<void> {
    if (!this.context.consultationId) return;
    for (const listed of await this.list()) {
      this.marks.set(listed.uid, { ...listed, author: authorName(listed.author), save: 'saved' });
      if (listed.mine) this.queue.known(listed.uid, listed.revision);
      const series = listed.series_instance_uid;
      this.waiting.set(series, [...(this.waiting.get(series) ?? []), listed]);
    }
    for (const series of [...this.waiting.keys()]) this.restore(series);
    this.changed();
  }

  /** A series' images are known now: draw its marks. */
  seriesLoaded(loaded: LoadedSeries): void {
    this.restore(loaded.series.uid);
  }

  remove(uid: string): void {
    const mark = this.marks.get(uid);
    if (!mark?.mine) return;
    annotation.state.removeAnnotation(uid);
    this.redraw();
  }

  /** Undo of `remove`. */
  putBack(mark: Mark): void {
    this.marks.set(mark.uid, mark);
    this.draw({ ...mark, revision: 0 });
    this.queue.put(mark.uid, () => mark);
    this.redraw();
    this.changed();
  }

  get selected(): string | null {
    return annotation.selection.getAnnotationsSelected().at(-1) ?? null;
  }

  select(uid: string): void {
    annotation.selection.setAnnotationSelected(uid, true, false);
    this.redraw();
  }

  toggleVisible(): boolean {
    this.hidden = !this.hidden;
    for (const uid of this.marks.keys()) annotation.visibility.setAnnotationVisibility(uid, !this.hidden);
    this.redraw();
    return !this.hidden;
  }

  /** Signed: everything stays as it is. */
  lock(): void {
    this.queue.close();
    for (const uid of this.marks.keys()) annotation.locking.setAnnotationLocked(uid, true);
    this.redraw();
  }

  authorOf(uid: string): string | null {
    const mark = this.marks.get(uid);
    return mark && !mark.mine ? mark.author : null;
  }

  private async list(): Promise<ListedMark[]> {
    const answer = (await this.requests.get(`/consultations/${this.context.consultationId}/annotations`)) as { annotations?: ListedMark[] };
    return answer.annotations ?? [];
  }

  private restore(seriesUid: string): void {
    const listed = this.waiting.get(seriesUid);
    if (!listed) return;
    const rest = listed.filter((mark) => !this.draw(mark));
    if (rest.length) this.waiting.set(seriesUid, rest);
    else this.waiting.delete(seriesUid);
    this.redraw();
  }

  private draw(listed: ListedMark): boolean {
    const imageId = findImageId(listed.series_instance_uid, listed.sop_instance_uid, listed.frame);
    const frame = imageId ? frameOf(imageId) : null;
    if (!imageId || !frame) return false;
    const plane = planeOf(frame);
    const reference = frame.frameOfReferenceUid ?? listed.series_instance_uid;
    // An arrow's text is drawn as it stands: someone else's carries their name.
    const signed = !listed.mine && listed.tool === 'arrow' ? { ...listed, label: `${listed.label} — ${authorName(listed.author)}` } : listed;
    const drawn = fromStored(signed, imageId, plane, reference, normal(plane));
    if (!drawn) return true;
    this.silently(() => {
      annotation.state.addAnnotation(drawn as Types.Annotation, reference);
      if (!listed.mine) annotation.config.style.setAnnotationStyles(listed.uid, styles(OTHERS));
      if (!listed.mine || !this.context.canAnnotate) annotation.locking.setAnnotationLocked(listed.uid, true);
    });
    return true;
  }

  /** A mark that measures nothing is a slip of the hand: it goes. */
  private completed(drawn: DrawnMark): void {
    const uid = drawn.annotationUID;
    const imageId = drawn.metadata?.referencedImageId;
    const ours = uid && imageId && markTool(drawn.metadata?.toolName);
    if (ours && !this.stored(drawn, imageId)) {
      annotation.state.removeAnnotation(uid);
      this.redraw();
    } else this.touched(drawn);
  }

  private touched(drawn: DrawnMark): void {
    const uid = drawn.annotationUID;
    const imageId = drawn.metadata?.referencedImageId;
    if (!uid || !imageId || !markTool(drawn.metadata?.toolName) || this.marks.get(uid)?.mine === false) return;
    const build = (): StoredMark | null => this.stored(drawn, imageId);
    const stored = build();
    if (!stored || (stored.tool === 'arrow' && !stored.label)) return;
    this.marks.set(uid, { ...stored, mine: true, author: this.context.user.name, save: 'pending' });
    this.queue.put(uid, () => {
      const latest = build();
      const mark = this.marks.get(uid);
      // By now the statistics of the finished shape have been computed.
      if (latest && mark) this.marks.set(uid, { ...mark, ...latest });
      return latest;
    });
    this.changed();
  }

  private stored(drawn: DrawnMark, imageId: string): StoredMark | null {
    const frame = frameOf(imageId);
    const seriesUid = seriesUidOf(imageId);
    if (!frame || !seriesUid) return null;
    return toStored({ mark: drawn, frame, seriesUid, plane: planeOf(frame), backend: this.backend });
  }

  private removed(drawn: DrawnMark): void {
    const uid = drawn.annotationUID;
    if (!uid || !this.marks.get(uid)?.mine) return;
    this.marks.delete(uid);
    this.queue.remove(uid);
    this.changed();
  }

  private saveStates(): void {
    this.changed();
  }

  private silently(work: () => void): void {
    this.quiet += 1;
    try {
      work();
    } finally {
      this.quiet -= 1;
    }
  }

  private redraw(): void {
    for (const element of document.querySelectorAll<HTMLDivElement>('[data-viewport-uid]')) utilities.triggerAnnotationRender(element);
  }
}

/** The words beside a mark while it is drawn and after: measurements, and whose it is if not mine. */
export function linesBeside(layer: Layer, toolName: string, data: unknown, target: string | readonly string[]): string[] {
  // The rectangle hands over all its targets, the others one.
  const targetId = typeof target === 'string' ? target : (target[0] ?? '');
  const frame = frameOf(targetId.replace(/^imageId:/, ''));
  const tool = markTool(toolName);
  if (!frame || !tool) return [];
  const stats = (data as { cachedStats?: Record<string, Record<string, unknown>> }).cachedStats?.[targetId];
  const lines = measurementLines(measurementsOf(tool, stats, frame), frame.spacing?.source === 'detector', words());
  const drawn = annotation.state.getAllAnnotations().find((candidate) => candidate.data === data);
  const author = drawn?.annotationUID ? layer.authorOf(drawn.annotationUID) : null;
  return author ? [...lines, author] : lines;
}

/** Dictionary and number format for measurements, in the page's language. */
export function words(): Words {
  return { unit: t().unit, atDetector: t().atDetector, measure: t().measure, number: formatNumber };
}

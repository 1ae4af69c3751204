/**
 * Autosave of the opinion's three fields: one request at a time, the latest text wins, nothing is lost quietly.
 *
 * This is the only place that retries the draft. A conflict (the draft changed elsewhere) stops saving until the person
 * has chosen a text.
 */
import { HttpError } from '../data/http';

export const FIELDS = ['findings', 'conclusion', 'recommendations'] as const;
export type Field = (typeof FIELDS)[number];
export type Fields = Record<Field, string>;

export interface StoredDraft extends Fields {
  revision: number;
  updated_at: string | null;
}

export interface DraftTransport {
  get(): Promise<StoredDraft>;
  put(fields: Fields, revision: number, keepalive: boolean): Promise<StoredDraft>;
}

export type DraftState =
  | { name: 'clean' | 'dirty' | 'saving' | 'offline' }
  | { name: 'saved'; at: Date }
  | { name: 'refused'; message: string }
  | { name: 'conflict'; theirs: StoredDraft };

const DEBOUNCE = 900;
const SLOWEST = 20_000;

const same = (a: Fields, b: Fields): boolean => FIELDS.every((field) => a[field] === b[field]);
const pick = (value: Fields): Fields => ({ findings: value.findings, conclusion: value.conclusion, recommendations: value.recommendations });

export class Draft {
  private fields: Fields = { findings: '', conclusion: '', recommendations: '' };
  private confirmed: Fields = this.fields;
  private revision_ = 0;
  private current: DraftState = { name: 'clean' };
  private timer: ReturnType<typeof setTimeout> | null = null;
  private running: Promise<void> | null = null;
  private attempts = 0;
  private closed = false;

  constructor(
    private readonly transport: DraftTransport,
    private readonly changed: (state: DraftState) => void,
  ) {}

  get state(): DraftState {
    return this.current;
  }

  get revision(): number {
    return this.revision_;
  }

  get text(): Fields {
    return this.fields;
  }

  get unsaved(): boolean {
    return !this.closed && !same(this.fields, this.confirmed);
  }

  async load(): Promise<Fields> {
    const stored = await this.transport.get();
    this.adopt(stored);
    this.set(stored.updated_at ? { name: 'saved', at: new Date(stored.updated_at) } : { name: 'clean' });
    return this.fields;
  }

  edit(field: Field, value: string): void {
    if (this.closed || this.fields[field] === value) return;
    this.fields = { ...this.fields, [field]: value };
    if (this.current.name === 'conflict') return;
    if (this.current.name !== 'offline') this.set({ name: 'dirty' });
    this.later(DEBOUNCE);
  }

  /** Save now; true when the server has the present text. */
  async flush(keepalive = false): Promise<boolean> {
    if (this.current.name === 'conflict' || this.closed) return false;
    this.clear();
    if (this.running) await this.running;
    if (this.unsaved) await this.save(keepalive);
    return !this.unsaved && this.state.name !== 'conflict';
  }

  keepMine(): void {
    if (this.current.name !== 'conflict') return;
    this.revision_ = this.current.theirs.revision;
    this.confirmed = pick(this.current.theirs);
    this.set({ name: 'dirty' });
    this.later(0);
  }

  takeTheirs(): Fields {
    if (this.current.name === 'conflict') {
      this.adopt(this.current.theirs);
      this.set({ name: 'saved', at: new Date() });
    }
    return this.fields;
  }

  close(): void {
    this.closed = true;
    this.clear();
  }

  /** Take the server's revision if its text is still ours; otherwise it is a conflict to be shown. */
  async refreshRevision(): Promise<boolean> {
    const theirs = await this.transport.get();
    if (!same(pick(theirs), this.fields)) {
      this.set({ name: 'conflict', theirs });
      return false;
    }
    this.revision_ = theirs.revision;
    return true;
  }

  private adopt(stored: StoredDraft): void {
    this.fields = { findings: stored.findings ?? '', conclusion: stored.conclusion ?? '', recommendations: stored.recommendations ?? '' };
    this.confirmed = this.fields;
    this.revision_ = stored.revision;
  }

  private set(state: DraftState): void {
    this.current = state;
    this.changed(state);
  }

  private clear(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
  }

  private later(delay: number): void {
    this.clear();
    this.timer = setTimeout(() => void this.save(false), delay);
  }

  private save(keepalive: boolean): Promise<void> {
    this.clear();
    if (this.running) return this.running;
    if (!this.unsaved || this.closed || this.current.name === 'conflict') return Promise.resolve();
    this.running = this.send(keepalive).finally(() => {
      this.running = null;
      const settled = this.current.name !== 'conflict' && this.current.name !== 'refused';
      if (this.unsaved && settled && this.timer === null) this.later(DEBOUNCE);
    });
    return this.running;
  }

  private async send(keepalive: boolean): Promise<void> {
    const sent = this.fields;
    if (this.current.name !== 'offline') this.set({ name: 'saving' });
    try {
      const stored = await this.transport.put(sent, this.revision_, keepalive);
      this.revision_ = stored.revision;
      this.confirmed = sent;
      this.attempts = 0;
      this.set(this.unsaved ? { name: 'dirty' } : { name: 'saved', at: stored.updated_at ? new Date(stored.updated_at) : new Date() });
    } catch (error) {
      await this.failed(error, sent);
    }
  }

  private async failed(error: unknown, sent: Fields): Promise<void> {
    const http = error instanceof HttpError ? error : null;
    if (http?.conflict) {
      try {
        const theirs = await this.transport.get();
        // Our own save arrived but its answer was lost: nothing to choose between.
        if (same(pick(theirs), sent)) {
          this.revision_ = theirs.revision;
          this.confirmed = sent;
          this.set({ name: 'saved', at: new Date() });
        } else if (same(pick(theirs), this.confirmed)) {
          // Only the revision moved on (a mark, a reassignment): the text is still the one we started from.
          this.revision_ = theirs.revision;
          this.set({ name: 'dirty' });
          this.later(0);
        } else this.set({ name: 'conflict', theirs });
        return;
      } catch {
        // Could not even read: treated as being offline.
      }
    } else if (http && !http.transient && http.status !== 401) {
      this.set({ name: 'refused', message: http.message });
      return;
    }
    this.attempts += 1;
    this.set({ name: 'offline' });
    this.later(Math.min(SLOWEST, 1000 * 2 ** (this.attempts - 1)));
  }

  /** The browser is online again: do not wait for the timer. */
  online(): void {
    if (this.unsaved && this.current.name === 'offline') this.later(0);
  }
}

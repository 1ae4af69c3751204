/**
 * Saving marks as they are drawn: one PUT at a time per mark, the latest form wins, failures are retried and shown.
 *
 * This is the only place that retries a mark. Transient failures (no network, 5xx) are tried again after 1, 2, 4 … 30
 * seconds and at once when the browser comes back online. A conflict adopts the server's revision and tries once more.
 * Anything else the server refuses stays flagged until the mark is changed or deleted.
 */
import { HttpError } from '../data/http';
import type { StoredMark } from './types';

export interface MarkTransport {
  put(uid: string, mark: StoredMark & { revision: number | null }): Promise<{ revision: number }>;
  remove(uid: string): Promise<void>;
  /** The server's revision of a mark, null if it has none. */
  revision(uid: string): Promise<number | null>;
}

export type SaveState = 'saved' | 'pending' | 'failing' | 'refused';

interface Entry {
  revision: number | null;
  wanted: (() => StoredMark | null) | 'remove' | null;
  busy: boolean;
  attempts: number;
  conflicts: number;
  state: SaveState;
  timer: ReturnType<typeof setTimeout> | null;
}

const DEBOUNCE = 400;
const SLOWEST = 30_000;

export class SaveQueue {
  private readonly entries = new Map<string, Entry>();
  private closed = false;

  constructor(
    private readonly transport: MarkTransport,
    private readonly changed: () => void,
  ) {}

  /** A mark the server already has. */
  known(uid: string, revision: number): void {
    this.entries.set(uid, { ...fresh(), revision, state: 'saved' });
  }

  put(uid: string, build: () => StoredMark | null): void {
    if (this.closed) return;
    const entry = this.entry(uid);
    entry.wanted = build;
    entry.conflicts = 0;
    this.schedule(uid, entry, DEBOUNCE);
  }

  remove(uid: string): void {
    if (this.closed) return;
    const entry = this.entries.get(uid);
    if (!entry) return;
    if (entry.revision === null && !entry.busy) {
      this.cancel(entry);
      this.entries.delete(uid);
      this.changed();
      return;
    }
    entry.wanted = 'remove';
    entry.conflicts = 0;
    this.schedule(uid, entry, 0);
  }

  state(uid: string): SaveState {
    return this.entries.get(uid)?.state ?? 'saved';
  }

  /** Marks whose last form the server has not confirmed. */
  get unsaved(): number {
    return [...this.entries.values()].filter((entry) => entry.state !== 'saved').length;
  }

  get troubled(): number {
    return [...this.entries.values()].filter((entry) => entry.state === 'failing' || entry.state === 'refused').length;
  }

  /** Try everything waiting now. Resolves when all is settled or has failed once more. */
  async flush(): Promise<boolean> {
    for (let round = 0; round < 5; round += 1) {
      const waiting = [...this.entries].filter(([, entry]) => entry.wanted !== null && !entry.busy);
      if (waiting.length === 0 && ![...this.entries.values()].some((entry) => entry.busy)) break;
      await Promise.all(waiting.map(([uid, entry]) => this.run(uid, entry)));
      if (this.troubled > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return this.unsaved === 0;
  }

  /** Signed: nothing more is sent. */
  close(): void {
    this.closed = true;
    for (const entry of this.entries.values()) this.cancel(entry);
  }

  private entry(uid: string): Entry {
    let entry = this.entries.get(uid);
    if (!entry) {
      entry = fresh();
      this.entries.set(uid, entry);
    }
    return entry;
  }

  private cancel(entry: Entry): void {
    if (entry.timer) clearTimeout(entry.timer);
    entry.timer = null;
  }

  private schedule(uid: string, entry: Entry, delay: number): void {
    this.cancel(entry);
    if (entry.state === 'saved') entry.state = 'pending';
    entry.timer = setTimeout(() => void this.run(uid, entry), delay);
    this.changed();
  }

  private async run(uid: string, entry: Entry): Promise<void> {
    this.cancel(entry);
    if (entry.busy || entry.wanted === null || this.closed) return;
    const wanted = entry.wanted;
    entry.wanted = null;
    entry.busy = true;
    try {
      if (wanted === 'remove') {
        await this.delete(uid);
        if (entry.wanted === null) this.entries.delete(uid);
        else entry.revision = null;
      } else {
        const mark = wanted();
        if (mark) entry.revision = (await this.transport.put(uid, { ...mark, revision: entry.revision })).revision;
        else if (entry.revision === null && entry.wanted === null) this.entries.delete(uid);
      }
      entry.attempts = 0;
      entry.conflicts = 0;
      entry.state = entry.wanted === null ? 'saved' : 'pending';
    } catch (error) {
      entry.wanted ??= wanted;
      await this.failed(uid, entry, error);
    } finally {
      entry.busy = false;
    }
    if (entry.wanted !== null && entry.timer === null && entry.state !== 'refused') this.schedule(uid, entry, 0);
    this.changed();
  }

  private async delete(uid: string): Promise<void> {
    try {
      await this.transport.remove(uid);
    } catch (error) {
      // Already gone is what was wanted.
      if (!(error instanceof HttpError && error.status === 404)) throw error;
    }
  }

  private async failed(uid: string, entry: Entry, error: unknown): Promise<void> {
    const http = error instanceof HttpError ? error : null;
    if (http?.conflict && entry.conflicts < 1) {
      entry.conflicts += 1;
      try {
        entry.revision = await this.transport.revision(uid);
        entry.timer = setTimeout(() => void this.run(uid, entry), 0);
        return;
      } catch {
        // Fall through: treated like any other failure to reach the server.
      }
    }
    if (http && !http.transient && http.status !== 401) {
      entry.state = 'refused';
      return;
    }
    entry.state = 'failing';
    entry.attempts += 1;
    const delay = Math.min(SLOWEST, 1000 * 2 ** (entry.attempts - 1));
    entry.timer = setTimeout(() => void this.run(uid, entry), delay);
  }
}

function fresh(): Entry {
  return { revision: null, wanted: null, busy: false, attempts: 0, conflicts: 0, state: 'pending', timer: null };
}

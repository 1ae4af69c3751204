import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SaveQueue, type MarkTransport } from '../src/annotations/queue';
import type { StoredMark } from '../src/annotations/types';
import { HttpError } from '../src/data/http';
import { Draft, type DraftState, type Fields, type StoredDraft } from '../src/opinion/draft';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const mark = (label: string): StoredMark => ({
  uid: 'u', tool: 'length', label, series_instance_uid: '1', sop_instance_uid: '2', frame: 1, frame_of_reference_uid: null,
  points_world: null, points_image: [[1, 1], [2, 2]], measurements: {}, backend: 'gpu', state: {},
});

class Server implements MarkTransport {
  stored = new Map<string, { label: string; revision: number }>();
  puts: string[] = [];
  failures: HttpError[] = [];

  async put(uid: string, sent: StoredMark & { revision: number | null }) {
    const failure = this.failures.shift();
    if (failure) throw failure;
    const present = this.stored.get(uid);
    if ((present?.revision ?? null) !== sent.revision) throw new HttpError(409, 'conflict', '');
    const revision = (present?.revision ?? 0) + 1;
    this.stored.set(uid, { label: sent.label, revision });
    this.puts.push(sent.label);
    return { revision };
  }

  async remove(uid: string) {
    const failure = this.failures.shift();
    if (failure) throw failure;
    if (!this.stored.delete(uid)) throw new HttpError(404, 'not_found', '');
  }

  async revision(uid: string) {
    return this.stored.get(uid)?.revision ?? null;
  }
}

describe('marks', () => {
  it('sends only the latest form', async () => {
    const server = new Server();
    const queue = new SaveQueue(server, () => undefined);
    for (const label of ['a', 'b', 'c']) queue.put('u', () => mark(label));
    expect(queue.unsaved).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.puts).toEqual(['c']);
    expect(queue.unsaved).toBe(0);
    queue.put('u', () => mark('d'));
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.stored.get('u')).toEqual({ label: 'd', revision: 2 });
  });

  it('retries what failed in passing, and says so meanwhile', async () => {
    const server = new Server();
    server.failures = [new HttpError(503, '', ''), new HttpError(0, 'network', '')];
    const queue = new SaveQueue(server, () => undefined);
    queue.put('u', () => mark('a'));
    await vi.advanceTimersByTimeAsync(500);
    expect(queue.state('u')).toBe('failing');
    await vi.advanceTimersByTimeAsync(1100);
    expect(queue.state('u')).toBe('failing');
    await vi.advanceTimersByTimeAsync(2100);
    expect(queue.state('u')).toBe('saved');
    expect(server.puts).toEqual(['a']);
  });

  it('adopts the revision of another window and goes on', async () => {
    const server = new Server();
    const queue = new SaveQueue(server, () => undefined);
    queue.known('u', 1);
    server.stored.set('u', { label: 'theirs', revision: 4 });
    queue.put('u', () => mark('mine'));
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.stored.get('u')).toEqual({ label: 'mine', revision: 5 });
  });

  it('keeps a refused mark flagged and does not hammer', async () => {
    const server = new Server();
    server.failures = [new HttpError(400, 'invalid', '')];
    const queue = new SaveQueue(server, () => undefined);
    queue.put('u', () => mark('a'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(queue.state('u')).toBe('refused');
    expect(queue.unsaved).toBe(1);
    expect(server.puts).toEqual([]);
  });

  it('removes, also what was never sent or is already gone', async () => {
    const server = new Server();
    const queue = new SaveQueue(server, () => undefined);
    queue.put('u', () => mark('a'));
    queue.remove('u');
    await vi.advanceTimersByTimeAsync(2000);
    expect(server.puts).toEqual([]);
    queue.known('w', 3);
    queue.remove('w');
    await vi.advanceTimersByTimeAsync(100);
    expect(queue.unsaved).toBe(0);
  });

  it('does not lose a change made while one is on its way', async () => {
    const server = new Server();
    const slow = server.put.bind(server);
    server.put = async (uid, sent) => {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return slow(uid, sent);
    };
    const queue = new SaveQueue(server, () => undefined);
    queue.put('u', () => mark('a'));
    await vi.advanceTimersByTimeAsync(600);
    queue.put('u', () => mark('b'));
    await vi.advanceTimersByTimeAsync(5000);
    expect(server.puts).toEqual(['a', 'b']);
    expect(queue.unsaved).toBe(0);
  });

  it('flushes before a signature and reports failure', async () => {
    const server = new Server();
    const queue = new SaveQueue(server, () => undefined);
    queue.put('u', () => mark('a'));
    const done = queue.flush();
    await vi.advanceTimersByTimeAsync(200);
    expect(await done).toBe(true);
    server.failures = [new HttpError(503, '', '')];
    queue.put('u', () => mark('b'));
    const failed = queue.flush();
    await vi.advanceTimersByTimeAsync(200);
    expect(await failed).toBe(false);
  });
});

class OpinionServer {
  draft: StoredDraft = { revision: 1, findings: '', conclusion: '', recommendations: '', updated_at: null };
  failures: HttpError[] = [];
  puts = 0;

  get = async (): Promise<StoredDraft> => ({ ...this.draft });

  put = async (fields: Fields, revision: number): Promise<StoredDraft> => {
    this.puts += 1;
    const failure = this.failures.shift();
    if (failure) throw failure;
    if (revision !== this.draft.revision) throw new HttpError(409, 'conflict', '');
    this.draft = { ...fields, revision: revision + 1, updated_at: '2026-11-21T12:31:00+00:00' };
    return { ...this.draft };
  };
}

describe('draft', () => {
  async function open(server: OpinionServer) {
    const states: DraftState[] = [];
    const draft = new Draft(server, (state) => states.push(state));
    await draft.load();
    return { draft, states };
  }

  it('saves once the writer pauses', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    draft.edit('findings', 'a');
    await vi.advanceTimersByTimeAsync(500);
    draft.edit('findings', 'ab');
    expect(draft.unsaved).toBe(true);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.puts).toBe(1);
    expect(server.draft.findings).toBe('ab');
    expect(draft.state).toEqual({ name: 'saved', at: new Date('2026-11-21T12:31:00+00:00') });
    expect(draft.unsaved).toBe(false);
  });

  it('keeps trying without a connection', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    server.failures = [new HttpError(0, 'network', ''), new HttpError(502, '', '')];
    draft.edit('conclusion', 'x');
    await vi.advanceTimersByTimeAsync(1000);
    expect(draft.state.name).toBe('offline');
    await vi.advanceTimersByTimeAsync(4000);
    expect(draft.state.name).toBe('saved');
    expect(server.draft.conclusion).toBe('x');
  });

  it('asks when the text changed elsewhere, and does as told', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    server.draft = { ...server.draft, findings: 'theirs', revision: 7 };
    draft.edit('findings', 'mine');
    await vi.advanceTimersByTimeAsync(1000);
    expect(draft.state.name).toBe('conflict');
    expect(server.draft.findings).toBe('theirs');
    draft.keepMine();
    await vi.advanceTimersByTimeAsync(100);
    expect(server.draft.findings).toBe('mine');

    server.draft = { ...server.draft, findings: 'theirs again', revision: 20 };
    draft.edit('findings', 'mine again');
    await vi.advanceTimersByTimeAsync(1000);
    expect(draft.takeTheirs().findings).toBe('theirs again');
    expect(draft.unsaved).toBe(false);
  });

  it('does not bother the writer when only the revision moved', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    server.draft.revision = 5;
    draft.edit('findings', 'mine');
    await vi.advanceTimersByTimeAsync(1500);
    expect(draft.state.name).toBe('saved');
    expect(server.draft.findings).toBe('mine');
  });

  it('recognises its own save whose answer was lost', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    const put = server.put;
    let lost = true;
    server.put = async (fields, revision) => {
      const answer = await put(fields, revision);
      if (lost) {
        lost = false;
        throw new HttpError(0, 'network', '');
      }
      return answer;
    };
    draft.edit('findings', 'once');
    await vi.advanceTimersByTimeAsync(5000);
    expect(draft.state.name).toBe('saved');
    expect(draft.revision).toBe(server.draft.revision);
  });

  it('flushes at once', async () => {
    const server = new OpinionServer();
    const { draft } = await open(server);
    draft.edit('conclusion', 'now');
    expect(await draft.flush()).toBe(true);
    expect(server.draft.conclusion).toBe('now');
  });
});

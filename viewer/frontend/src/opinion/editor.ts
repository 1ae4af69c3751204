/** The opinion: three fields, autosaved; signed, it becomes text. */
import type { Context } from '../context';
import { HttpError, type Requests } from '../data/http';
import { formatMoment, formatTime, t } from '../i18n';
import { h, show } from '../ui/dom';
import { icon } from '../ui/icons';
import { Draft, FIELDS, type DraftState, type Field, type Fields, type StoredDraft } from './draft';
import { askSignature } from './sign';

export interface EditorHooks {
  /** Everything else must be saved before the signature; false when it could not be. */
  beforeSign: () => Promise<boolean>;
  signed: () => void;
  changed: () => void;
}

interface SignedOpinion extends Partial<StoredDraft> {
  signed_at?: string | null;
  signed_by?: unknown;
  author?: unknown;
}

const person = (value: unknown): string => {
  if (typeof value === 'object' && value !== null) return String((value as { name?: unknown }).name ?? '');
  return typeof value === 'string' ? value : '';
};

export class Editor {
  readonly root = h('section', { class: 'opinion', testid: 'opinion' });
  readonly draft: Draft;
  private readonly areas = new Map<Field, HTMLTextAreaElement>();
  private readonly status = h('span', { class: 'save-status', role: 'status', testid: 'opinion-status' });
  private readonly conflict = h('div', { class: 'notice', role: 'alert', testid: 'opinion-conflict', hidden: true });
  private readonly problem = h('p', { class: 'problem', role: 'alert', testid: 'opinion-problem', hidden: true });
  private readonly path: string;

  constructor(
    private readonly context: Context,
    private readonly requests: Requests,
    private readonly hooks: EditorHooks,
  ) {
    this.path = `/consultations/${context.consultationId}`;
    this.draft = new Draft(
      {
        get: async () => (await requests.get(`${this.path}/opinion`)) as StoredDraft,
        put: async (fields, revision, keepalive) =>
          (await requests.send('PUT', `${this.path}/opinion`, { revision, ...fields }, keepalive)) as StoredDraft,
      },
      (state) => this.show(state),
    );
  }

  async start(): Promise<void> {
    if (!this.context.canSign) {
      await this.startReadOnly();
      return;
    }
    this.build();
    try {
      this.fill(await this.draft.load());
    } catch (error) {
      if (!(error instanceof HttpError && error.status === 404)) {
        this.problem.textContent = t().loadFailed;
        show(this.problem, true);
        for (const area of this.areas.values()) area.disabled = true;
      }
    }
  }

  /** Put text at the end of the findings, on a line of its own. */
  insert(text: string): void {
    const area = this.areas.get('findings');
    if (!area || area.disabled) return;
    area.value = area.value.trimEnd() ? `${area.value.trimEnd()}\n${text}` : text;
    this.edited('findings', area);
    area.focus();
  }

  private build(): void {
    const sign = h('button', { class: 'primary', type: 'button', testid: 'sign' }, icon('lock'), t().sign);
    sign.addEventListener('click', () => void this.sign());
    this.root.replaceChildren(
      h('header', { class: 'section-head' }, h('h2', { text: t().opinion }), this.status),
      ...FIELDS.map((field) => this.field(field)),
      this.conflict,
      this.problem,
      h('div', { class: 'actions' }, sign),
    );
  }

  private field(field: Field): HTMLElement {
    const area = h('textarea', { rows: field === 'findings' ? 5 : 3, testid: `opinion-${field}`, spellcheck: 'true', maxlength: 20000 });
    area.addEventListener('input', () => this.edited(field, area));
    area.addEventListener('keydown', (event) => event.stopPropagation());
    this.areas.set(field, area);
    return h('label', { class: 'field' }, h('span', { class: 'label', text: t()[field] }), area);
  }

  private edited(field: Field, area: HTMLTextAreaElement): void {
    show(this.problem, false);
    this.draft.edit(field, area.value);
    this.hooks.changed();
  }

  private fill(fields: Fields): void {
    for (const [field, area] of this.areas) area.value = fields[field];
  }

  private show(state: DraftState): void {
    const words = t().draft;
    this.status.dataset['state'] = state.name;
    this.status.textContent = state.name === 'saved' ? words.saved(formatTime(state.at)) : words[state.name];
    show(this.conflict, state.name === 'conflict');
    if (state.name === 'conflict') this.showConflict();
    if (state.name === 'refused') {
      this.problem.textContent = state.message || words.refused;
      show(this.problem, true);
    }
    this.hooks.changed();
  }

  private showConflict(): void {
    const mine = h('button', { class: 'secondary', type: 'button', text: t().keepMine, testid: 'conflict-mine' });
    const theirs = h('button', { class: 'secondary', type: 'button', text: t().takeTheirs, testid: 'conflict-theirs' });
    mine.addEventListener('click', () => this.draft.keepMine());
    theirs.addEventListener('click', () => this.fill(this.draft.takeTheirs()));
    this.conflict.replaceChildren(h('p', { text: t().conflictText }), h('div', { class: 'actions' }, mine, theirs));
  }

  private async sign(): Promise<void> {
    const complain = (text: string) => {
      this.problem.textContent = text;
      show(this.problem, true);
    };
    show(this.problem, false);
    if (!this.draft.text.conclusion.trim()) {
      complain(t().needConclusion);
      this.areas.get('conclusion')?.focus();
      return;
    }
    const [marks, text] = await Promise.all([this.hooks.beforeSign(), this.draft.flush()]);
    if (!marks) {
      complain(t().unsavedMarks);
      return;
    }
    if (!text) return;
    askSignature(this.draft.text.conclusion, async (password) => {
      const send = () => this.requests.send('POST', `${this.path}/sign`, { revision: this.draft.revision, password });
      const answer = (await send().catch(async (error: unknown) => {
        // The consultation moved on but the text did not (a colleague's note, a reassignment): sign what is on screen.
        if (error instanceof HttpError && error.conflict && (await this.draft.refreshRevision())) return send();
        throw error;
      })) as SignedOpinion;
      this.draft.close();
      this.showSigned({ ...this.draft.text, ...answer, signed_by: this.context.user.name }, true);
      this.hooks.signed();
    });
  }

  private async startReadOnly(): Promise<void> {
    try {
      const opinion = (await this.requests.get(`${this.path}/opinion`)) as SignedOpinion;
      const signed = ['signed', 'delivered', 'acknowledged'].includes(this.context.state ?? '');
      if (opinion && FIELDS.some((field) => opinion[field])) this.showSigned(opinion, signed);
    } catch {
      // No opinion yet, or not ours to see: nothing to show.
    }
  }

  private showSigned(opinion: SignedOpinion, signed: boolean): void {
    const when = opinion.signed_at ? new Date(opinion.signed_at) : signed ? new Date() : null;
    const by = person(opinion.signed_by) || person(opinion.author);
    this.root.classList.toggle('signed', signed);
    this.root.replaceChildren(
      h('header', { class: 'section-head' }, h('h2', { text: t().opinion }), h('span', { class: 'save-status' })),
      ...FIELDS.filter((field) => opinion[field]).map((field) =>
        h('div', { class: 'field' }, h('span', { class: 'label', text: t()[field] }), h('p', { class: 'written', text: String(opinion[field]), testid: `signed-${field}` })),
      ),
      ...(signed
        ? [h('p', { class: 'signature', testid: 'signature' }, icon('lock'), when && by ? t().signedBy(by, formatMoment(when)) : t().signed)]
        : []),
    );
  }
}

/** The right side: the question, the marks, the opinion. */
import type { Context } from '../context';
import { HttpError, type Requests } from '../data/http';
import { t } from '../i18n';
import { h } from './dom';
import { facts } from './facts';

/** Offered while nobody has taken the consultation: one click, then the page starts again with the new rights. */
function acceptance(context: Context, requests: Requests): HTMLElement | null {
  if (context.state !== 'requested' || !context.consultationId) return null;
  const button = h('button', { class: 'primary', type: 'button', text: t().accept, testid: 'accept' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  button.addEventListener('click', () => {
    button.disabled = true;
    requests
      .send('POST', `/consultations/${context.consultationId}/accept`, {})
      .then(() => window.location.reload())
      .catch((error: unknown) => {
        button.disabled = false;
        problem.hidden = false;
        problem.textContent = error instanceof HttpError ? error.message : String(error);
      });
  });
  return h('section', { class: 'acceptance' }, h('p', { class: 'muted', text: t().acceptHint }), button, problem);
}

export function buildPanel(context: Context, requests: Requests, marks: HTMLElement, opinion: HTMLElement): HTMLElement {
  return h(
    'aside',
    { class: 'panel', testid: 'panel', 'aria-label': t().panelTitle },
    h('div', { class: 'panel-scroll' }, facts(context), acceptance(context, requests), marks, opinion),
  );
}

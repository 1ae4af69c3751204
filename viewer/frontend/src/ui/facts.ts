/** What was asked, about whom, by when. */
import type { Context } from '../context';
import { formatAge, formatDate, formatMoment, formatSpan, t } from '../i18n';
import { h } from './dom';

/** How long is left, refreshed while the page stays open. */
function deadline(dueAt: string): HTMLElement {
  const due = new Date(dueAt);
  const element = h('span', { class: 'due', testid: 'due', title: formatMoment(due) });
  const tell = () => {
    const left = due.getTime() - Date.now();
    element.textContent = left >= 0 ? t().dueIn(formatSpan(left)) : t().overdue(formatSpan(-left));
    element.classList.toggle('overdue', left < 0);
    element.classList.toggle('soon', left >= 0 && left < 3_600_000);
  };
  tell();
  window.setInterval(tell, 30_000);
  return element;
}

export function facts(context: Context): HTMLElement {
  const { patient, study } = context;
  const words = t().facts;
  const sex = t().overlay.sex[patient.sex as 'M' | 'F' | 'O'] ?? patient.sex;
  const rows: [string, string][] = [
    [words.patient, [patient.name || patient.id, sex, formatAge(patient.age)].filter(Boolean).join(', ')],
    [words.study, [study.description, formatDate(study.date)].filter(Boolean).join(', ')],
    [words.site, context.site ?? ''],
    [words.specialty, context.specialty ?? ''],
  ];
  const urgency = context.urgency ? h('span', { class: `chip urgency-${context.urgency}`, text: t().urgency[context.urgency] ?? context.urgency }) : null;
  const state = context.state ? h('span', { class: 'chip', testid: 'state', text: t().state[context.state] ?? context.state }) : null;
  const open = ['requested', 'accepted', 'returned'].includes(context.state ?? '');
  return h(
    'section',
    { class: 'facts' },
    h('div', { class: 'chips' }, urgency, state, open && context.dueAt ? deadline(context.dueAt) : null),
    h('blockquote', { class: 'question', testid: 'question', text: context.question ?? t().noQuestion }),
    h('dl', {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [h('dt', { text: name }), h('dd', { text: value })])),
  );
}

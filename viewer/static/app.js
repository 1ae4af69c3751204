// Small comforts; every page works without them. No framework, no inline script (see viewer/security.py).

const body = document.body.dataset;
const [unitDays, unitHours, unitMinutes] = (body.units ?? '-1 d|-1 h|-1 min').split('|');

/** A length of time in its two largest units, as `viewer.present.span` writes it; -1 stands for the number. */
function span(milliseconds) {
  const minutes = Math.floor(Math.abs(milliseconds) / 60000);
  const write = (unit, number) => unit.replace('-1', number);
  if (minutes >= 2880) {
    const hours = Math.floor((minutes % 1440) / 60);
    return write(unitDays, Math.floor(minutes / 1440)) + (hours ? ` ${write(unitHours, hours)}` : '');
  }
  const hours = Math.floor(minutes / 60);
  const rest = minutes % 60;
  const parts = [hours ? write(unitHours, hours) : '', rest || !hours ? write(unitMinutes, rest) : ''];
  return parts.filter(Boolean).join(' ');
}

function countDown() {
  for (const element of document.querySelectorAll('time[data-due]')) {
    const left = new Date(element.dateTime) - Date.now();
    const tone = left < 0 ? 'over' : left < Number(element.dataset.soon) * 1000 ? 'soon' : 'calm';
    element.textContent = (left < 0 ? body.overdue : body.left).replace('{}', span(left));
    element.className = `due due-${tone}`;
  }
}

/** Times in the reader's own zone, written as the server writes them. */
function localTimes() {
  const two = (number) => String(number).padStart(2, '0');
  const russian = document.documentElement.lang === 'ru';
  const months = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');
  for (const element of document.querySelectorAll('time[data-form]')) {
    const at = new Date(element.dateTime);
    const day = russian
      ? `${two(at.getDate())}.${two(at.getMonth() + 1)}.${at.getFullYear()}`
      : `${at.getDate()} ${months[at.getMonth()]} ${at.getFullYear()}`;
    const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
    const seconds = element.dataset.form === 'precise' ? `:${two(at.getSeconds())}` : '';
    element.textContent = element.dataset.form === 'day' ? day : `${day}, ${clock}${seconds}`;
  }
}

/** Fetch the list anew and replace it, unless somebody is using it or nobody looks at it. */
function keepFresh(list) {
  setInterval(async () => {
    if (document.hidden || list.contains(document.activeElement)) return;
    try {
      const response = await fetch(location.href, { headers: { 'X-Refresh': '1' } });
      if (response.redirected) location.reload(); // the session has ended
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), 'text/html');
      const fresh = page.getElementById(list.id);
      if (fresh) list.replaceChildren(...fresh.childNodes);
      const tabs = page.querySelector('.tabs');
      if (tabs) document.querySelector('.tabs')?.replaceChildren(...tabs.childNodes);
      countDown();
      localTimes();
    } catch {
      // A bad line: the next round tries again.
    }
  }, Number(list.dataset.refresh) * 1000);
}

for (const form of document.querySelectorAll('form[data-autosubmit]')) {
  form.classList.add('auto');
  form.addEventListener('change', () => form.requestSubmit());
}
document.addEventListener('submit', (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    return;
  }
  // One click is enough on a slow line; the button's own value still has to be sent, so it is disabled a moment later.
  setTimeout(() => event.submitter && (event.submitter.disabled = true));
  setTimeout(() => event.submitter && (event.submitter.disabled = false), 8000);
});
window.addEventListener('pageshow', () => document.querySelectorAll('button:disabled').forEach((b) => (b.disabled = false)));
for (const image of document.querySelectorAll('.series img')) {
  const hide = () => image.classList.add('missing');
  if (image.complete && !image.naturalWidth) hide();
  image.addEventListener('error', hide);
}

countDown();
localTimes();
setInterval(countDown, 15000);
const list = document.querySelector('[data-refresh]');
if (list) keepFresh(list);

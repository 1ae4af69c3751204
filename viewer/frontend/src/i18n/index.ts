/** The language of the page, chosen once at start. */
import { en, type Messages } from './en';
import { ru } from './ru';

let current: Messages = en;

export function useLanguage(language: 'en' | 'ru'): void {
  current = language === 'ru' ? ru : en;
}

export const t = (): Messages => current;

export function formatNumber(value: number, digits: number): string {
  return value.toLocaleString(current.locale, { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

export function formatTime(moment: Date): string {
  return moment.toLocaleTimeString(current.locale, { hour: '2-digit', minute: '2-digit' });
}

export function formatMoment(moment: Date): string {
  return moment.toLocaleString(current.locale, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
}

/** A DICOM date (YYYYMMDD) or an ISO one, as people write it; anything else as it is. */
export function formatDate(value: string): string {
  const match = /^(\d{4})-?(\d{2})-?(\d{2})/.exec(value);
  if (!match) return value;
  const date = new Date(Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3])));
  const text = date.toLocaleDateString(current.locale, { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' });
  return text.replaceAll(' ', '\u00a0');
}

/** An Age String (PS3.5 6.2 AS, "057Y") as people write it. */
export function formatAge(value: string): string {
  const match = /^(\d{1,3})([DWMY])$/.exec(value.trim());
  if (!match) return value;
  return `${Number(match[1])} ${current.overlay.age[match[2] as 'D' | 'W' | 'M' | 'Y']}`;
}

/** A span of time in its two largest units. */
export function formatSpan(milliseconds: number): string {
  const minutes = Math.max(0, Math.round(milliseconds / 60_000));
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor((minutes % 1440) / 60);
  const rest = minutes % 60;
  const parts = days ? [current.days(days), hours ? current.hours(hours) : ''] : [hours ? current.hours(hours) : '', !hours || rest ? current.minutes(rest) : ''];
  return parts.filter(Boolean).join(' ');
}

/** What the page hands the viewer in `data-context`; the server has already decided what this user may see and do. */
export interface Context {
  studyUid: string;
  consultationId: string | null;
  user: { login: string; name: string };
  language: 'en' | 'ru';
  canAnnotate: boolean;
  canSign: boolean;
  state: string | null;
  csrf: string;
  dicomweb: string;
  api: string;
  patient: { name: string; id: string; sex: string; age: string };
  study: { date: string; description: string; modalities: string[] };
  question: string | null;
  urgency: string | null;
  dueAt: string | null;
  specialty: string | null;
  site: string | null;
  backUrl: string;
}

type Raw = Record<string, unknown>;

const text = (value: unknown): string => (value === null || value === undefined ? '' : String(value));
const textOrNull = (value: unknown): string | null => text(value) || null;
const record = (value: unknown): Raw => (typeof value === 'object' && value !== null ? (value as Raw) : {});

function words(value: unknown): string[] {
  if (Array.isArray(value)) return value.map(text).filter(Boolean);
  return text(value).split(/[\\,\s]+/).filter(Boolean);
}

/** Read the context tolerantly: a missing nicety must not keep a doctor from the images. */
export function parseContext(json: string): Context {
  const raw = record(JSON.parse(json));
  const user = record(raw['user']);
  const patient = record(raw['patient']);
  const study = record(raw['study']);
  const studyUid = text(raw['studyUid']);
  if (!studyUid) throw new Error('the page names no study');
  return {
    studyUid,
    consultationId: textOrNull(raw['consultationId']),
    user: { login: text(user['login']), name: text(user['name']) },
    language: raw['language'] === 'ru' ? 'ru' : 'en',
    canAnnotate: raw['canAnnotate'] === true,
    canSign: raw['canSign'] === true,
    state: textOrNull(raw['state']),
    csrf: text(raw['csrf']),
    dicomweb: text(raw['dicomweb']) || '/dicom-web',
    api: text(raw['api']) || '/api/v1',
    patient: { name: text(patient['name']), id: text(patient['id']), sex: text(patient['sex']), age: text(patient['age']) },
    study: { date: text(study['date']), description: text(study['description']), modalities: words(study['modalities']) },
    question: textOrNull(raw['question']),
    urgency: textOrNull(raw['urgency']),
    dueAt: textOrNull(raw['dueAt']),
    specialty: textOrNull(raw['specialty']),
    site: textOrNull(raw['site']),
    backUrl: text(raw['backUrl']) || '/',
  };
}

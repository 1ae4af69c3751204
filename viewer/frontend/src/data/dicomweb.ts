/** The study over DICOMweb: series by QIDO-RS, metadata by WADO-RS, each fetched once. */
import { HttpError } from './http';
import { buildFrames, type Frame, type SeriesAddress } from './frames';
import type { DataSet } from './json';
import { hasPalette, resolvePalette } from './palette';
import { buildSeries, type Series } from './series';

export interface LoadedSeries {
  series: Series;
  frames: Frame[];
  /** SOP Instance UID → its data set. */
  dataSets: Map<string, DataSet>;
}

async function get(url: string, accept: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: 'same-origin', headers: { Accept: accept } });
  } catch (error) {
    throw new HttpError(0, 'network', error instanceof Error ? error.message : String(error));
  }
  if (!response.ok) throw new HttpError(response.status, '', response.statusText);
  return response;
}

async function dataSets(url: string): Promise<DataSet[]> {
  const response = await get(url, 'application/dicom+json');
  return response.status === 204 ? [] : ((await response.json()) as DataSet[]);
}

async function bytes(uri: string): Promise<ArrayBuffer> {
  const response = await get(uri, 'multipart/related; type="application/octet-stream", application/octet-stream, */*;q=0.5');
  const body = await response.arrayBuffer();
  const type = response.headers.get('content-type') ?? '';
  return type.startsWith('multipart/') ? onlyPart(new Uint8Array(body)) : body;
}

/** The body of a multipart message known to have one part. */
export function onlyPart(message: Uint8Array): ArrayBuffer {
  const text = new TextDecoder('latin1').decode(message);
  const start = text.indexOf('\r\n\r\n') + 4;
  const boundary = text.slice(text.indexOf('--'), text.indexOf('\r\n'));
  const end = text.lastIndexOf(`\r\n${boundary}`);
  return message.slice(start, end > start ? end : undefined).buffer as ArrayBuffer;
}

export class Study {
  private readonly loads = new Map<string, Promise<LoadedSeries>>();

  constructor(
    private readonly root: string,
    readonly studyUid: string,
  ) {}

  async series(): Promise<Series[]> {
    return buildSeries(await dataSets(`${this.root}/studies/${this.studyUid}/series?includefield=all&limit=1000`));
  }

  thumbnailUrl(series: Series): string {
    return `${this.root}/studies/${this.studyUid}/series/${series.uid}/thumbnail`;
  }

  load(series: Series): Promise<LoadedSeries> {
    const known = this.loads.get(series.uid);
    if (known) return known;
    const load = this.fetch(series);
    this.loads.set(series.uid, load);
    load.catch(() => this.loads.delete(series.uid));
    return load;
  }

  private async fetch(series: Series): Promise<LoadedSeries> {
    const address: SeriesAddress = { root: this.root, studyUid: this.studyUid, seriesUid: series.uid };
    const found = await dataSets(`${this.root}/studies/${this.studyUid}/series/${series.uid}/metadata`);
    await Promise.all(found.filter(hasPalette).map((dataSet) => resolvePalette(dataSet, bytes)));
    const byUid = new Map(found.map((dataSet) => [String(dataSet['00080018']?.Value?.[0] ?? ''), dataSet]));
    return { series, frames: buildFrames(found, address), dataSets: byUid };
  }
}

/** Talking to the server: same-origin cookie, CSRF header, errors with a code and whether trying again can help. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }

  /** The network or the server failed, not the request: the same request may succeed later. */
  get transient(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  get conflict(): boolean {
    return this.status === 409 || this.status === 412;
  }
}

export interface Requests {
  get(path: string): Promise<unknown>;
  send(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, keepalive?: boolean): Promise<unknown>;
}

interface ErrorBody {
  error?: { code?: unknown; message?: unknown };
}

async function failure(response: Response): Promise<HttpError> {
  let body: ErrorBody = {};
  try {
    body = (await response.json()) as ErrorBody;
  } catch {
    // Not JSON: a proxy's page, for example. The status says enough.
  }
  return new HttpError(response.status, String(body.error?.code ?? ''), String(body.error?.message ?? response.statusText));
}

export function requests(base: string, csrf: string): Requests {
  async function run(path: string, init: RequestInit): Promise<unknown> {
    let response: Response;
    try {
      response = await fetch(base + path, { credentials: 'same-origin', ...init });
    } catch (error) {
      throw new HttpError(0, 'network', error instanceof Error ? error.message : String(error));
    }
    // A login page instead of an answer: the session ran out and fetch followed the redirect.
    if (response.redirected && !(response.headers.get('content-type') ?? '').includes('json')) {
      throw new HttpError(401, 'unauthenticated', 'session ended');
    }
    if (!response.ok) throw await failure(response);
    if (response.status === 204) return null;
    const text = await response.text();
    return text ? (JSON.parse(text) as unknown) : null;
  }
  return {
    get: (path) => run(path, { headers: { Accept: 'application/json' } }),
    send: (method, path, body, keepalive = false) =>
      run(path, {
        method,
        keepalive,
        headers: {
          Accept: 'application/json',
          'X-CSRFToken': csrf,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
  };
}

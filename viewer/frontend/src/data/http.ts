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

/** The token in a page of this application; null if it is not one (the login page has one too, of no use here). */
export function tokenIn(html: string): string | null {
  return /name="csrf-token" content="([^"]+)"/.exec(html)?.[1] ?? null;
}

/**
 * @param ended  told once each time the session is found to have ended
 */
export function requests(base: string, csrf: string, ended: () => void = () => undefined): Requests {
  let token = csrf;

  /** Signed in again in another tab: the session is a new one, and so is its token. */
  async function renewToken(): Promise<boolean> {
    const response = await fetch(window.location.href, { credentials: 'same-origin' }).catch(() => null);
    const found = response?.ok && !response.redirected ? tokenIn(await response.text()) : null;
    if (!found || found === token) return false;
    token = found;
    return true;
  }

  async function run(path: string, init: RequestInit): Promise<unknown> {
    try {
      return await once(path, init);
    } catch (error) {
      if (!(error instanceof HttpError)) throw error;
      if (error.code === 'csrf' && (await renewToken())) return once(path, init);
      if (error.status === 401) ended();
      // A stale token without a session behind it is the same trouble: it goes away by signing in.
      throw error.code === 'csrf' ? new HttpError(401, 'csrf', error.message) : error;
    }
  }

  async function once(path: string, init: RequestInit): Promise<unknown> {
    let response: Response;
    try {
      const headers = { ...(init.headers as Record<string, string>), ...(init.method ? { 'X-CSRFToken': token } : {}) };
      response = await fetch(base + path, { credentials: 'same-origin', ...init, headers });
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
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
  };
}

/** The service's answers: signs in, asks only for what is new, and tells a refusal from silence. */

const ASK_WITHIN_MS = 8_000;
const BEAT_WITHIN_MS = 3_000;

/** Nobody answered, or not with sense. `kind` is silent, fault or refused. */
export class NoAnswer extends Error {
  constructor(kind, status = 0) {
    super(kind);
    this.kind = kind;
    this.status = status;
  }
}

export class Service {
  #held = new Map();
  #signingIn = null;

  /** Take the desk's role where the development sign-in stands open; whether it did. Two callers share one try. */
  signIn() {
    this.#signingIn ??= this.#trySignIn().finally(() => (this.#signingIn = null));
    return this.#signingIn;
  }

  async #trySignIn() {
    const answer = await reach("/dev/sign-in", ASK_WITHIN_MS, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ role: "command" }),
    });
    if (answer.status >= 500) throw new NoAnswer("fault", answer.status);
    // Read to its end, or the browser counts it as broken off.
    await jsonOf(answer);
    return answer.ok;
  }

  /** `{status, document}` of the readiness probe: whether anyone is there at all, told fast. */
  async beat() {
    const answer = await reach("/readyz", BEAT_WITHIN_MS);
    return { status: answer.status, document: answer.ok ? await jsonOf(answer) : null };
  }

  /** `{document, fresh}`: the answer at a path, and whether it differs from the one held. */
  async ask(path) {
    const held = this.#held.get(path);
    let answer = await this.#get(path, held);
    // The credential lives for 15 minutes and dies with the server's process.
    if (answer.status === 401 && (await this.signIn())) answer = await this.#get(path, held);
    if (answer.status === 304 && held) return { document: held.document, fresh: false };
    if (!answer.ok) throw new NoAnswer(answer.status >= 500 ? "fault" : "refused", answer.status);
    const document = await jsonOf(answer);
    const etag = answer.headers.get("ETag");
    if (etag) this.#held.set(path, { etag, document });
    return { document, fresh: true };
  }

  #get(path, held) {
    return reach(path, ASK_WITHIN_MS, held ? { headers: { "If-None-Match": held.etag } } : {});
  }

  /** Let go of an answer that will not be asked for again. */
  forget(path) {
    this.#held.delete(path);
  }
}

async function reach(path, withinMs, options = {}) {
  try {
    // The page keeps its own copies, so that it sees a 304 as one.
    return await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(withinMs), ...options });
  } catch {
    throw new NoAnswer("silent");
  }
}

async function jsonOf(answer) {
  try {
    return await answer.json();
  } catch {
    throw new NoAnswer("silent");
  }
}

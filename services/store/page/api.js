// How the page asks: with a token if it has one, and the stream of readings by fetch, because an EventSource
// cannot carry a token.

const PAUSES = [500, 5000];
const SILENT_FOR = 12000;
const ANSWERED_WITHIN = 3000;

let token = sessionStorage.getItem("token");
let onToken = () => {};

/** Takes a token for this tab. */
export function setToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
  onToken();
}

function headers(more = {}) {
  return token ? { ...more, authorization: `Bearer ${token}` } : more;
}

/** What an operation of the API answers. */
export async function api(path) {
  const answer = await fetch(`/api/v1${path}`, { headers: headers(), signal: AbortSignal.timeout(ANSWERED_WITHIN) });
  if (!answer.ok) {
    const { detail } = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(`${path}: ${answer.status}`), { status: answer.status, detail });
  }
  return answer.json();
}

const pause = (time) => new Promise((done) => {
  const timer = setTimeout(done, time);
  onToken = () => { clearTimeout(timer); done(); };
});

/** Follows the stream of readings for as long as the page is there, through every loss of the connection. */
export async function listen({ onState, onBegin, onReadings, onDiscarded, onRefused }) {
  let last = null;
  let wait = PAUSES[0];
  for (;;) {
    try {
      await follow(last, async (event, first) => {
        if (first) {
          // Asked for after the stream has begun: so nothing falls between the two.
          if (last === null) await onBegin();
          onState("good", "live");
          wait = PAUSES[0];
        }
        if (event.discarded) onDiscarded();
        last = event.id;
        onReadings(event.readings);
      });
      onState("doubt", "connecting again");
    } catch (error) {
      if (error.status === 401) {
        onState("bad", "a token is needed");
        onRefused();
        await pause(3600000);
        continue;
      }
      onState("bad", "the store does not answer");
    }
    await pause(wait);
    wait = Math.min(2 * wait, PAUSES[1]);
  }
}

async function follow(last, onEvent) {
  const end = new AbortController();
  let watchdog;
  const heard = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => end.abort(), SILENT_FOR);
  };
  try {
    heard();
    const answer = await fetch("/api/v1/readings/stream", {
      headers: headers(last ? { "last-event-id": last } : {}),
      signal: end.signal,
    });
    if (!answer.ok) throw Object.assign(new Error("the stream"), { status: answer.status });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    let first = true;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const data = event.split("\n").find((line) => line.startsWith("data: "));
        if (!data) continue;
        await onEvent(JSON.parse(data.slice(6)), first);
        first = false;
      }
    }
  } finally {
    clearTimeout(watchdog);
    end.abort();
  }
}

// Puts what has changed into the page, every few seconds. Without scripts the page reloads itself.
"use strict";
const EVERY = 3000;
const line = document.getElementById("status");
let answered = new Date();

function say(text) {
  if (line.textContent !== text) line.textContent = text; // screen readers speak what changes
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
}

// What a reader has opened, scrolled to and focused stays.
function replace(place, html) {
  const parts = () => [...place.querySelectorAll("details, summary, [tabindex]")];
  const before = parts().map(one => ({ open: one.open, left: one.scrollLeft, focus: one === document.activeElement }));
  place.innerHTML = html;
  const after = parts();
  if (after.length !== before.length) return;
  after.forEach((one, place) => {
    if (before[place].open) one.open = true;
    one.scrollLeft = before[place].left;
    if (before[place].focus) one.focus({ preventScroll: true });
  });
}

async function refresh() {
  const state = await (await get("versions")).json();
  for (const [anchor, version] of Object.entries(state.sections)) {
    const place = document.getElementById(`${anchor}-body`);
    if (place.dataset.version === version) continue;
    replace(place, await (await get(`section/${anchor}`)).text());
    place.dataset.version = version;
  }
  answered = new Date();
  say(state.status);
}

async function keepFresh() {
  try {
    if (!document.hidden) await refresh();
  } catch {
    say(`netspec watch does not answer; this is how it was at ${answered.toLocaleTimeString()}`);
  }
  setTimeout(keepFresh, EVERY);
}

setTimeout(keepFresh, EVERY);

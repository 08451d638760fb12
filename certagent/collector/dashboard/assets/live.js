"use strict";
// The page as it is now: whenever something changed, the same address is read again and its content put in place.
const page = document.getElementById("page"), live = document.getElementById("live"), spoken = document.getElementById("spoken");
const SOON = 100, PAUSE = 2000, REGULARLY = 30000;
let waiting = null, last = 0;

function say(text, isLive) {
  live.querySelector("span").textContent = text;
  live.classList.toggle("on", isLive);
}
function stops() {
  return [...page.querySelectorAll("a[href], button, input, summary, [tabindex='0']")];
}
// Who was at a link or a button is put back there: the same by id or address, else the one at the same place.
function where(element) {
  return page.contains(element) && element !== page ? { id: element.id, href: element.getAttribute("href"), at: stops().indexOf(element) } : null;
}
function find({ id, href, at }) {
  const now = stops();
  return now.find(one => id && one.id === id) ?? now.find(one => href && one.getAttribute("href") === href) ?? now[at];
}
async function refresh() {
  waiting = null;
  last = Date.now();
  const answer = await fetch(location.href).catch(() => null);
  if (answer === null) return;
  if (answer.redirected && new URL(answer.url).pathname === "/login") return location.assign(answer.url);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html"), content = fresh.getElementById("page");
  if (content === null || content.innerHTML === page.innerHTML) return;
  const open = [...page.querySelectorAll("details[open]")].map(one => one.id), focused = where(document.activeElement);
  page.replaceChildren(...content.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused !== null) find(focused)?.focus({ preventScroll: true });
  const heading = page.querySelector("h1").textContent;
  if (document.title !== fresh.title) spoken.textContent = heading;
  document.title = fresh.title;
}
function soon() {
  waiting ??= setTimeout(refresh, Math.max(SOON, last + PAUSE - Date.now()));
}
if (live) {
  const events = new EventSource("/v1/events");
  events.onopen = () => { delete live.dataset.lost; say("live", true); soon(); };
  events.onerror = () => live.dataset.lost ? null : say(`not live since ${live.dataset.lost = new Date().toLocaleTimeString()}`, false);
  for (const kind of ["incident", "agent", "certificate"]) events.addEventListener(kind, soon);
  setInterval(soon, REGULARLY);
}

"use strict";
// The page as it is now: whenever something changed, the same address is read again and its content put in place.
const page = document.getElementById("page"), live = document.getElementById("live"), spoken = document.getElementById("spoken");
const stale = document.getElementById("stale"), made = document.getElementById("made"), icon = document.getElementById("icon");
const SOON = 100, PAUSE = 2000, REGULARLY = 30000;
const SILENT = 5000, OLDEST = 30000;  // without a beat for so long, or with a look at the fleet that old, the page is not current
let waiting = null, last = 0, beatAt = Date.now(), currentAt = Date.now(), title = document.title;

function say(text, isLive) {
  live.hidden = false;
  live.querySelector("span").textContent = text;
  live.classList.toggle("on", isLive);
}
function stops() {
  return [...page.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")];
}
// Who was at a link or a button is put back there: the same by id or address, else the one at the same place.
function where(element) {
  return page.contains(element) && element !== page ? { id: element.id, href: element.getAttribute("href"), at: stops().indexOf(element) } : null;
}
function find({ id, href, at }) {
  const now = stops();
  return now.find(one => id && one.id === id) ?? now.find(one => href && one.getAttribute("href") === href) ?? now[at];
}
// Each command gets its button; without this script it is text to select.
function dress(root) {
  for (const command of root.querySelectorAll(".command > code")) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "copy", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy ${command.textContent}`);
    command.after(button);
  }
}
async function copy(button) {
  const command = button.previousElementSibling;
  getSelection().selectAllChildren(command);
  const byHand = () => document.execCommand("copy");  // what is selected; without TLS there is no clipboard
  const isCopied = await (navigator.clipboard?.writeText(command.textContent).then(() => true, byHand) ?? byHand());
  spoken.textContent = isCopied ? `Copied: ${command.textContent}` : "Not copied: the command is selected";
  button.textContent = isCopied ? "Copied" : "Selected";
}
async function refresh() {
  waiting = null;
  last = Date.now();
  const answer = await fetch(location.href).catch(() => null);
  if (answer === null) return;
  if (answer.redirected && new URL(answer.url).pathname === "/login") return location.assign(answer.url);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html"), content = fresh.getElementById("page");
  if (content === null) return;
  dress(content);
  made.replaceChildren(...fresh.getElementById("made").childNodes);
  icon.href = fresh.getElementById("icon").href;
  const wasTitle = title;
  title = fresh.title;
  judge();
  if (content.innerHTML === page.innerHTML) return;
  const typed = [...page.querySelectorAll("input[id], select[id]")].map(one => [one.id, one.value]);
  const open = [...page.querySelectorAll("details[open]")].map(one => one.id), focused = where(document.activeElement);
  page.replaceChildren(...content.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, value] of typed) { const field = document.getElementById(id); if (field) field.value = value; }
  if (focused !== null) find(focused)?.focus({ preventScroll: true });
  const heading = page.querySelector("h1").textContent;
  if (wasTitle !== title) spoken.textContent = heading;
}
// What stands here is as old as the collector's last look at the fleet, and no news is no good news.
function judge() {
  const isStale = Date.now() - beatAt > SILENT || beatAt - currentAt > OLDEST;
  if (isStale && stale.hidden) stale.querySelector("span").textContent = new Date(currentAt).toISOString().slice(11, 19) + " UTC";
  stale.hidden = !isStale;
  document.body.classList.toggle("not-current", isStale);
  document.title = isStale ? `Not current · ${title}` : title;
}
function beat(event) {
  const seconds = JSON.parse(event.data).round_seconds;
  const wasStale = !stale.hidden;
  beatAt = Date.now();
  if (seconds !== null) currentAt = beatAt - 1000 * seconds;
  judge();
  if (wasStale && stale.hidden) soon();
}
function soon() {
  waiting ??= setTimeout(refresh, Math.max(SOON, last + PAUSE - Date.now()));
}
dress(page);
page.addEventListener("click", event => event.target.matches(".copy") && copy(event.target));
if (live) {
  const events = new EventSource("/v1/events");
  events.onopen = () => { delete live.dataset.lost; say("live", true); soon(); };
  events.onerror = () => live.dataset.lost ? null : say(`not live since ${live.dataset.lost = new Date().toLocaleTimeString()}`, false);
  events.addEventListener("beat", beat);
  setInterval(judge, 1000);
  for (const kind of ["incident", "agent", "certificate"]) events.addEventListener(kind, soon);
  setInterval(soon, REGULARLY);
}

const page = document.getElementById("page"), live = document.getElementById("live");
let waiting = null;
async function refresh() {
  waiting = null;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...page.querySelectorAll("details[open]")].map(one => one.id);
  page.innerHTML = fresh.getElementById("page").innerHTML;
  document.title = fresh.title;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
}
function soon() { waiting ??= setTimeout(refresh, 150); }
const events = new EventSource("/v1/events");
events.onopen = () => { live.textContent = "live"; document.body.dataset.live = "yes"; soon(); };
events.onerror = () => { live.textContent = "reconnecting"; delete document.body.dataset.live; };
for (const kind of ["incident", "agent", "certificate"]) events.addEventListener(kind, soon);
setInterval(soon, 30000);
document.addEventListener("click", async event => {
  const button = event.target.closest("[data-ack]");
  if (!button) return;
  button.disabled = true;
  await fetch(`/v1/incidents/${button.dataset.ack}/ack`, { method: "POST" });
  soon();
});

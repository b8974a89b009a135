// Gives people their names and handles, asked of the AppView by this browser. Profiles can be older than what this service
// has heard, so the AppView has the last word: people it does not show, and people who asked to be shown to signed-in
// people only, leave the list and are counted. All of it is text, never markup.
"use strict";
(async () => {
  const rows = new Map([...document.querySelectorAll("[data-did]")].map(row => [row.dataset.did, row]));
  if (!rows.size) return;
  const query = [...rows.keys()].map(did => `actors=${encodeURIComponent(did)}`).join("&");
  let profiles;
  try {
    const url = `${document.body.dataset.appview}/xrpc/app.bsky.actor.getProfiles?${query}`;
    const answer = await fetch(url, {signal: AbortSignal.timeout(4000), headers: {accept: "application/json"}});
    if (!answer.ok) return;
    profiles = (await answer.json()).profiles;
  } catch { return; } // links do
  const shown = profiles.filter(one => !(one.labels ?? []).some(label => label.val === "!no-unauthenticated"));
  for (const {did, handle, displayName} of shown) {
    const row = rows.get(did);
    if (!row) continue;
    row.querySelector("bdi").textContent = displayName || handle;
    row.querySelector(".handle").textContent = `@${handle}`;
    rows.delete(did);
  }
  if (!rows.size) return;
  rows.forEach(row => row.remove());
  const more = document.querySelector(".not-shown");
  more.querySelector("b").textContent = rows.size;
  more.hidden = false;
})();

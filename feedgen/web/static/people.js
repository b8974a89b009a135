// Gives people their names and handles, asked of the AppView by this browser. Whoever it does not show, or who asked to be
// shown to signed-in people only, stays a link. All of it is text, never markup.
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
  for (const {did, handle, displayName, labels} of profiles) {
    const row = rows.get(did);
    if (!row || (labels ?? []).some(label => label.val === "!no-unauthenticated")) continue;
    row.querySelector("bdi").textContent = displayName || handle;
    row.querySelector(".handle").textContent = `@${handle}`;
  }
})();

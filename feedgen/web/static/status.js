// Brings the figures up to date without a reload, while somebody looks.
"use strict";
const now = document.getElementById("now");

async function renew() {
  if (document.hidden) return;
  try {
    const answer = await fetch(now.dataset.ask);
    if (!answer.ok) throw new Error(answer.statusText);
    now.innerHTML = await answer.text();
    now.classList.remove("stale");
  } catch {
    now.classList.add("stale"); // what is shown stays, paler
  }
}

setInterval(renew, 1000 * Number(now.dataset.again));
document.addEventListener("visibilitychange", renew);

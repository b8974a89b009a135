// The lists follow the sliders, and the address follows both. Without this the page is a form with a button.
"use strict";
(() => {
  const form = document.getElementById("settings");
  const lists = document.getElementById("lists");
  const status = document.getElementById("status");
  const PRESETS = [...form.querySelectorAll("input[name=a]")].map(radio => radio.value);
  const STEPS = 1000;
  const WAIT_MS = 60;

  const numbers = [...form.querySelectorAll("input[type=number]")];
  const field = name => form.elements.namedItem(name);
  const chosen = column => form.querySelector(`input[name=${column}]:checked`)?.value ?? "";
  const ofPreset = number => number.dataset.presets.split(" ")[PRESETS.indexOf(chosen(number.name[0]))];

  // A slider goes from 0 to 1000. Ranges of more than a hundredfold are spread by size, so that small values can be hit.
  const spread = number => {
    const low = Number(number.min), high = Number(number.max), whole = number.step === "1";
    const least = low > 0 ? low : whole ? 1 : 0.01;
    if (high / least <= 200) {
      return {value: t => low + t * (high - low), t: value => (value - low) / (high - low)};
    }
    const ratio = Math.log(high / least);
    return {
      value: t => t === 0 ? low : least * Math.exp(t * ratio),
      t: value => value <= least && low === 0 ? (value < least ? 0 : 1 / STEPS) : Math.log(value / least) / ratio,
    };
  };
  const neat = (number, value) => number.step === "1" ? String(Math.round(value)) : String(Number(value.toPrecision(3)));

  for (const slider of form.querySelectorAll("input[type=range]")) {
    const number = field(slider.dataset.for), scale = spread(number);
    number.follow = () => {
      slider.value = Math.round(STEPS * scale.t(Number(number.value)));
      slider.setAttribute("aria-valuetext", number.value);
    };
    slider.addEventListener("input", () => {
      number.value = neat(number, scale.value(slider.value / STEPS));
      slider.setAttribute("aria-valuetext", number.value);
    });
    number.follow();
  }

  const query = () => {
    const found = new URLSearchParams();
    if (field("who").value.trim()) found.set("who", field("who").value.trim());
    if (field("feed")?.value) found.set("feed", field("feed").value);
    if (chosen("a") !== PRESETS[0]) found.set("a", chosen("a"));
    if (chosen("b")) found.set("b", chosen("b"));
    for (const number of numbers) {
      if (number.value !== "" && Number(number.value) !== Number(ofPreset(number))) found.set(number.name, number.value);
    }
    return found;
  };

  let busy = false, again = false;
  const load = async () => {
    if (busy) { again = true; return; } // one question at a time; the newest setting is asked next
    busy = true;
    lists.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(`/playground/lists?${query()}`, {headers: {accept: "text/html, application/json"}});
      if (answer.ok) {
        lists.innerHTML = await answer.text(); // our own page's piece, escaped where it was made
        lists.dispatchEvent(new Event("posts", {bubbles: true}));
      } else {
        const told = await answer.json();
        status.textContent = `${told.error}. ${told.message}`;
      }
    } catch {
      status.textContent = "The service does not answer. Is the network there?";
    }
    lists.removeAttribute("aria-busy");
    busy = false;
    if (again) { again = false; load(); }
  };

  let timer;
  const changed = keep => {
    const address = `/playground?${query()}`;
    history[keep ? "pushState" : "replaceState"](null, "", address);
    clearTimeout(timer);
    timer = setTimeout(load, WAIT_MS);
  };

  form.addEventListener("input", event => {
    if (event.target.type === "range") {
      if (!form.sliding) { form.sliding = true; history.pushState(null, "", location.href); } // one step back per slide
      changed(false);
    }
  });
  form.addEventListener("change", event => {
    const {target} = event;
    form.sliding = false;
    if (target.name === "b" || target.name === "who") { form.requestSubmit(); return; }
    if (target.name === "a") {
      for (const number of numbers.filter(one => one.name.startsWith("a."))) {
        number.value = ofPreset(number);
        number.follow();
      }
    }
    if (target.type === "number") target.follow();
    if (target.type !== "range") changed(true);
  });
  form.addEventListener("submit", event => {
    event.preventDefault();
    location.assign(`/playground?${query()}`);
  });
  // Back and forward: the server makes the page that the address names.
  window.addEventListener("popstate", () => location.reload());
  window.addEventListener("pageshow", event => { if (event.persisted) location.reload(); });
})();

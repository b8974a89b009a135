// Fills posts in: author, text, pictures and counts, asked of the AppView by this browser; of our own server when that
// can't be reached; links stay when nobody answers. All of it is text or checked addresses, never markup.
// Say `element.dispatchEvent(new Event("posts", {bubbles: true}))` when new posts stand in an element.
"use strict";
(() => {
  const BATCH = 25;
  const PATIENCE_MS = 4000;
  const HIDDEN_MS = 1200; // a list is shown at once when it is whole, but not later than this
  const {appview, pictures} = document.body.dataset;
  const hosts = new Set(pictures.split(" "));
  const ADULT = new Set(["porn", "sexual", "nudity", "graphic-media"]);
  const known = new Map(); // at-uri -> post, or null when nobody has it
  const coming = new Map(); // at-uri -> the batch that will bring it

  const picture = url => {
    try { return hosts.has(new URL(url).origin) ? url : ""; } catch { return ""; }
  };

  // The sentence in place of text and pictures that not everybody may see. Posts whose labels we know come with it.
  const veilOf = ({author, labels}) => {
    const ofAuthor = (author.labels ?? []).map(label => label.val);
    if (ofAuthor.includes("!no-unauthenticated")) return "Its author asked to be shown to signed-in people only.";
    const adult = [...ofAuthor, ...(labels ?? []).map(label => label.val)].some(label => ADULT.has(label));
    return adult ? "It, or its author, is labelled as adult content." : "";
  };

  // What web/posts.py makes of the same answer.
  const shown = view => {
    const {author, record, embed = {}} = view;
    const media = embed.media ?? embed;
    const post = {
      uri: view.uri, name: author.displayName || author.handle, handle: author.handle, text: record.text ?? "",
      avatar: picture(author.avatar), pictures: [], video: (media.$type ?? "").startsWith("app.bsky.embed.video"),
      veil: veilOf(view),
    };
    if (post.veil) return post;
    for (const image of (media.images ?? []).slice(0, 4)) {
      const {width = 4, height = 3} = image.aspectRatio ?? {};
      if (picture(image.thumb)) post.pictures.push({thumb: image.thumb, alt: image.alt ?? "", width, height});
    }
    if (post.video && picture(media.thumbnail)) {
      post.pictures.push({thumb: media.thumbnail, alt: media.alt ?? "", width: 16, height: 9});
    }
    if (media.external) {
      post.link = {title: media.external.title || media.external.uri, host: new URL(media.external.uri).host};
    }
    const quoted = embed.record?.record ?? embed.record;
    if (quoted?.author && !veilOf(quoted)) {
      post.quote = {name: quoted.author.displayName || quoted.author.handle, text: quoted.value?.text ?? ""};
    }
    return post;
  };

  const ask = async url => {
    const answer = await fetch(url, {signal: AbortSignal.timeout(PATIENCE_MS), headers: {accept: "application/json"}});
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return (await answer.json()).posts;
  };

  const fetchBatch = async uris => {
    const query = uris.map(uri => `uris=${encodeURIComponent(uri)}`).join("&");
    let posts;
    try {
      posts = (await ask(`${appview}/xrpc/app.bsky.feed.getPosts?${query}`)).flatMap(view => {
        try { return [shown(view)]; } catch { return []; }
      });
    } catch {
      try { posts = await ask(`/posts?${query}`); } catch { return; } // links do
    }
    for (const uri of uris) known.set(uri, null);
    for (const post of posts) known.set(post.uri, post);
  };

  const fetchAll = async uris => {
    const missing = [...new Set(uris)].filter(uri => !known.has(uri) && !coming.has(uri));
    for (let i = 0; i < missing.length; i += BATCH) {
      const batch = missing.slice(i, i + BATCH);
      const done = fetchBatch(batch).finally(() => batch.forEach(uri => coming.delete(uri)));
      batch.forEach(uri => coming.set(uri, done));
    }
    await Promise.all(uris.map(uri => coming.get(uri)));
  };

  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  const extras = post => {
    const made = [];
    if (post.pictures?.length) {
      const images = post.pictures.map(one => element("img", {
        src: one.thumb, alt: one.alt ?? "", width: one.width ?? 4, height: one.height ?? 3, loading: "lazy",
      }));
      made.push(element("div", {className: `pictures n${images.length}`}, ...images));
    }
    if (post.video) made.push(element("p", {className: "link"}, "Video"));
    if (post.link) {
      const host = element("span", {className: "soft"}, post.link.host ?? "");
      made.push(element("p", {className: "link", dir: "auto"}, post.link.title, " ", host));
    }
    if (post.quote) {
      const name = element("b", {}, element("bdi", {}, post.quote.name));
      made.push(element("blockquote", {dir: "auto"}, name, " ", post.quote.text));
    }
    return made;
  };

  const fill = card => {
    const post = known.get(card.dataset.uri);
    if (post === undefined) return;
    card.classList.add("done");
    const words = card.querySelector(".words");
    if (post === null) {
      words.textContent = "Bluesky does not show this post just now.";
      words.hidden = false;
      return;
    }
    if (post.veil) {
      words.textContent = post.veil;
      words.hidden = false;
      return;
    }
    card.classList.remove("bare");
    card.querySelector(".name bdi").textContent = post.name;
    card.querySelector(".handle").textContent = `@${post.handle}`;
    words.textContent = post.text;
    words.hidden = !post.text;
    if (post.avatar) {
      card.querySelector(".face").replaceWith(
        element("img", {className: "face", src: post.avatar, alt: "", width: 36, height: 36}));
    }
    card.querySelector(".extra").replaceChildren(...extras(post));
  };

  const hydrate = async root => {
    const cards = [...root.querySelectorAll("[data-uri].bare:not(.done, [data-veil])")];
    cards.forEach(fill); // what is known is there at once
    const rest = cards.filter(card => !card.classList.contains("done"));
    const show = () => [root, ...root.querySelectorAll(".waiting")].forEach(one => one.classList?.remove("waiting"));
    const timer = setTimeout(show, HIDDEN_MS);
    await fetchAll(rest.map(card => card.dataset.uri));
    rest.forEach(fill);
    clearTimeout(timer);
    show();
  };

  document.addEventListener("posts", event => hydrate(event.target));
  hydrate(document);
})();
